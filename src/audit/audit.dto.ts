import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsString, Length, Matches } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { IsUserReference } from '../common/owner.js';
import { PageQuery } from '../common/page.js';
import { IsStorable, MayBeMissing } from '../common/text.js';
import type { Verdict } from './audit-chain.js';
import type { AuditRow } from './audit.repository.js';
import type { Changes } from './changes.js';

export class ListAuditQuery extends PageQuery {
  @IsUserReference('Who did it: id, username or e-mail, or `me`')
  actor?: string;

  /** What was done: `user.update`, or a start that ends in `*`, like `user.*` */
  @ApiPropertyOptional({ example: 'user.*', maxLength: 64, pattern: '^[a-z_]*(\\.[a-z_]*)?\\*?$' })
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  @Matches(/^[a-z_]*(\.[a-z_]*)?\*?$/, { message: 'must be an action like user.update, or a start like user.*' })
  action?: string;

  /** To what: an id or a slug, a user also by username or e-mail, or `platform` */
  @ApiPropertyOptional({ example: 'ada', minLength: 1, maxLength: 254 })
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  target?: string;
}

export class VerifyAuditQuery {
  /** A `head` that was noted earlier: it must still be in the chain */
  @ApiPropertyOptional({ pattern: '^[0-9a-f]{64}$' })
  @MayBeMissing()
  @Matches(/^[0-9a-f]{64}$/, { message: 'must be a head: 64 hexadecimal digits' })
  head?: string;
}

/** Who changed what. */
export class AuditEntryResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  at!: string;

  /**
   * The user's id; null: the server itself
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  actor!: string | null;

  /** @example user.update */
  action!: string;

  /**
   * An id, a slug, or `platform`
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3d
   */
  target!: string;

  @ApiProperty({
    type: 'object',
    additionalProperties: { type: 'object', properties: { from: {}, to: {} } },
    description: 'The changed fields, as they were and as they are; of a secret neither',
    example: { role: { from: 'user', to: 'admin' }, password: {} },
  })
  changes!: Changes;

  /** @example 7f3a90c1-2b */
  requestId!: string | null;

  /** @example 192.0.2.7 */
  ip!: string | null;
}

/** One page of the audit log, newest first. */
export class AuditPage {
  data!: AuditEntryResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

/** Where the chain breaks first. */
export class AuditFaultResponse {
  /**
   * The entry; null where nothing of it is left
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  id!: string | null;

  /**
   * Its place in the chain, from 1; null: in none, an entry that the server did not write
   * @example 17
   */
  @ApiProperty({ type: 'integer', nullable: true })
  position!: number | null;

  /** @example altered */
  fault!: 'altered' | 'removed';
}

/** Whether the audit log is what it was when it was sealed. */
export class AuditVerdictResponse {
  /** @example true */
  ok!: boolean;

  /**
   * Entries in the chain
   * @example 4711
   */
  @ApiProperty({ type: 'integer' })
  sealed!: number;

  /**
   * The last link of the chain: note it elsewhere, and ask for it later. null: nothing is sealed yet
   * @example 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
   */
  head!: string | null;

  /**
   * Entries that are not in the chain yet: those of the last second
   * @example 0
   */
  @ApiProperty({ type: 'integer' })
  unsealed!: number;

  /** Where `ok` is false: the first entry that was altered or removed */
  @ApiPropertyOptional({ type: AuditFaultResponse })
  first?: AuditFaultResponse;
}

export function toAuditEntryResponse({ actorId, at, ...entry }: AuditRow): AuditEntryResponse {
  const { id, action, target, changes, requestId, ip } = entry;
  return { id, at: at.toISOString(), actor: actorId, action, target, changes, requestId, ip };
}

export function toAuditVerdictResponse({ sealed, head, unsealed, first }: Verdict): AuditVerdictResponse {
  return { ok: first === null, sealed, head, unsealed, ...(first ? { first } : {}) };
}
