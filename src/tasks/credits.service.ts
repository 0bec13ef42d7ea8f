import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import type { Caller } from '../http/caller/caller.js';
import { Cursors, type Page, type PageQuery } from '../common/page.js';
import { Database, type Transaction } from '../database/database.js';
import { CreditBound } from '../platform/credit-bound.js';
import { UsersService } from '../users/users.service.js';
import type { GrantCreditsDto } from './credit.dto.js';
import { CreditsRepository, type GrantRow } from './credits.repository.js';

/** Bonus credits, in addition to a user's limit until they expire. Tasks created with them stay. */
@Injectable()
export class CreditsService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly grants: CreditsRepository,
    private readonly bound: CreditBound,
    private readonly cursors: Cursors,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem not_found, credits_overprovisioned */
  async grant(
    reference: string,
    { amount, reason, expiresAt }: GrantCreditsDto,
    caller: Caller,
    transaction?: Transaction,
  ): Promise<GrantRow> {
    const ownerId = await this.users.idOf(reference, caller, transaction);
    const expiry = expiresAt === undefined || expiresAt === null ? null : new Date(expiresAt);
    const grant = { id: uuidv7(), ownerId, amount, reason: reason ?? null, expiresAt: expiry };
    return this.database.within(transaction, (tx) =>
      this.bound.guard(tx, { ownerId }, async () => {
        const made = await this.grants.insert(tx, grant);
        const changes = changesOf(null, made, ['id', 'amount', 'reason', 'expiresAt']);
        await this.audit.record(tx, caller, 'credits.grant', ownerId, changes);
        return made;
      }),
    );
  }

  /** Lists grants, newest first, including expired ones. @throws Problem not_found */
  async list(reference: string, { cursor, limit }: PageQuery, caller: Caller): Promise<Page<GrantRow>> {
    const ownerId = await this.users.idOf(reference, caller);
    const list = `credits/${ownerId}`;
    const before = cursor === undefined ? null : this.cursors.open(list, cursor);
    const rows = await this.grants.listOwned(ownerId, before, limit + 1);
    return this.cursors.page(list, rows, limit, (row) => row.id);
  }
}
