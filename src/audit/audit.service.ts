import { Injectable } from '@nestjs/common';
import { isSelf, type Caller } from '../http/caller/caller.js';
import { Cursors, type Page } from '../common/page.js';
import { AuditChain, type Verdict } from './audit-chain.js';
import type { ListAuditQuery, VerifyAuditQuery } from './audit.dto.js';
import { AuditRepository, type AuditRow } from './audit.repository.js';

/** Reads the audit log for administrators. */
@Injectable()
export class AuditService {
  constructor(
    private readonly entries: AuditRepository,
    private readonly chain: AuditChain,
    private readonly cursors: Cursors,
  ) {}

  /** Lists entries, newest first. The entries of a deleted user are found only by the user's id. */
  async list(query: ListAuditQuery, caller: Caller): Promise<Page<AuditRow>> {
    const { actor, action, target, cursor, limit } = query;
    const list = `audit?${JSON.stringify([actor, action, target])}`;
    const before = cursor === undefined ? null : this.cursors.open(list, cursor);
    const [actorId, targetId] = await Promise.all([this.idOf(actor, caller), this.idOf(target, caller)]);
    // No user has this name, so no entry matches.
    if (actor !== undefined && actorId === null) return { data: [], nextCursor: null };
    const targets = target === undefined ? null : [target, ...(targetId === null ? [] : [targetId])];
    const rows = await this.entries.list({ actorId, action: action ?? null, targets }, before, limit + 1);
    return this.cursors.page(list, rows, limit, (row) => row.id);
  }

  verify({ head }: VerifyAuditQuery): Promise<Verdict> {
    return this.chain.verify(head === undefined ? undefined : Buffer.from(head, 'hex'));
  }

  private async idOf(reference: string | undefined, caller: Caller): Promise<string | null> {
    if (reference === undefined) return null;
    return isSelf(reference, caller) ? caller.userId : this.entries.userIdOf(reference);
  }
}
