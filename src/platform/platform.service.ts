import { Injectable } from '@nestjs/common';
import { AuditLog, PLATFORM } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import type { Caller } from '../http/caller/caller.js';
import { requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Env } from '../config/env.js';
import { Database } from '../database/database.js';
import { CreditBound } from './credit-bound.js';
import type { PlatformResponse, UpdatePlatformDto } from './platform.dto.js';
import { PlatformRepository, type SettingsRow } from './platform.repository.js';

const FIELDS = ['registration', 'totalObjects', 'creditOverprovisioning', 'defaultPlan', 'selfDeletion'] as const;

/** The settings of the platform. A change applies from the next request, on every node. */
@Injectable()
export class PlatformService {
  constructor(
    private readonly env: Env,
    private readonly database: Database,
    private readonly platform: PlatformRepository,
    private readonly credits: CreditBound,
    private readonly audit: AuditLog,
  ) {}

  async get(): Promise<PlatformResponse> {
    return this.toResponse(await this.platform.get());
  }

  /**
   * Changes the settings, or nothing if a problem is thrown.
   * @throws Problem version_mismatch, credits_overprovisioned; validation_failed for an unknown plan
   */
  async update(dto: UpdatePlatformDto, caller: Caller, preconditions: Preconditions): Promise<PlatformResponse> {
    return this.database.transaction(async (tx) => {
      const before = this.toResponse(await this.platform.lock(tx, true));
      requireVersion(preconditions, before);
      await this.platform.update(tx, dto);
      const changesBound = dto.totalObjects !== undefined || dto.creditOverprovisioning !== undefined;
      if (changesBound) await this.credits.apply(tx);
      const after = this.toResponse(await this.platform.get(tx));
      await this.audit.recordIfChanged(tx, caller, 'platform.update', PLATFORM, changesOf(before, after, FIELDS));
      return after;
    });
  }

  /** Whether anyone may register. */
  isOpen(settings: SettingsRow): boolean {
    return (settings.registration ?? this.env.registration) === 'open';
  }

  private toResponse(settings: SettingsRow): PlatformResponse {
    const { totalObjects, creditOverprovisioning, defaultPlan, selfDeletion } = settings;
    return {
      registration: this.isOpen(settings) ? 'open' : 'closed',
      totalObjects,
      creditOverprovisioning,
      defaultPlan,
      selfDeletion,
    };
  }
}
