import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import type { Actor } from '../http/caller/caller.js';
import { isDatabaseUnavailable, isOverload } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { AuditMac } from './audit-mac.js';
import { AuditRepository } from './audit.repository.js';
import type { Changes } from './changes.js';

/** The actions, as `GET /v1/audit?action=` names them. */
export type Action =
  | `user.${'create' | 'update' | 'delete'}`
  | `password.${'change' | 'reset' | 'link'}`
  | 'email.confirm'
  | `signing_key.${'create' | 'delete'}`
  | `session.${'create' | 'refresh' | 'end' | 'revoke'}`
  | `totp.${'prepare' | 'enable' | 'disable' | 'renew' | 'use'}`
  | `quota.${'set' | 'unset'}`
  | 'credits.grant'
  | `plan.${'create' | 'update' | 'delete'}`
  | `key.${'create' | 'update' | 'rotate' | 'delete'}`
  | `api.${'create' | 'update' | 'delete'}`
  | 'platform.update';

/** The target of a change to the platform settings. */
export const PLATFORM = 'platform';

/** Records who changed what. */
@Injectable()
export class AuditLog {
  constructor(
    private readonly entries: AuditRepository,
    private readonly mac: AuditMac,
  ) {}

  /**
   * Writes an entry in the transaction of the change. If it cannot be written, the change does not happen.
   * @param target id, slug, or `platform`
   * @param changes without any secret
   * @throws Problem database_unavailable
   */
  record(tx: Transaction, actor: Actor, action: Action, target: string, changes: Changes = {}): Promise<void> {
    return this.recordAll(tx, actor, action, [{ target, changes }]);
  }

  /** Like `record`, for the same action on several targets. */
  async recordAll(
    tx: Transaction,
    actor: Actor,
    action: Action,
    targets: readonly { target: string; changes: Changes }[],
  ): Promise<void> {
    const { userId: actorId, origin } = actor;
    const entries = targets.map(({ target, changes }) => {
      const entry = {
        ...{ id: uuidv7(), at: new Date().toISOString(), actorId, action, target, changes: JSON.stringify(changes) },
        ...{ requestId: origin?.requestId ?? null, ip: origin?.ip ?? null },
      };
      return { ...entry, mac: this.mac.of(entry) };
    });
    try {
      if (await this.entries.insert(tx, entries)) return;
      throw new Error('An entry of the audit log was not inserted');
    } catch (error) {
      if (isDatabaseUnavailable(error) || isOverload(error)) throw error;
      // A missing privilege or table: the client cannot fix it, and the change must not go unrecorded.
      throw new Problem('database_unavailable', {
        detail: 'The audit log cannot be written, so nothing was changed.',
        retryAfter: 30,
        cause: error,
      });
    }
  }

  /** Like `record`, but does nothing if there are no changes. */
  async recordIfChanged(
    tx: Transaction,
    actor: Actor,
    action: Action,
    target: string,
    changes: Changes,
  ): Promise<void> {
    if (Object.keys(changes).length > 0) await this.record(tx, actor, action, target, changes);
  }
}
