import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsString, Length, Matches } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { IsUserReference } from '../http/caller/owner.js';
import { PageQuery } from '../common/page.js';
import { IsStorable, MayBeMissing } from '../common/text.js';
import type { Verdict } from './audit-chain.js';
import type { AuditRow } from './audit.repository.js';
import type { Changes } from './changes.js';

export class ListAuditQuery extends PageQuery {
  @IsUserReference('The user who made the change: id, username, e-mail or `me`')
  actor?: string;

  /**
   * The action, such as `user.update`, or a prefix that ends in `*`, such as `user.*`. A `-` in front lists all others:
   * `-session.refresh`
   */
  @ApiPropertyOptional({ example: 'user.*', maxLength: 64, pattern: '^-?[a-z_]*(\\.[a-z_]*)?\\*?$' })
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  @Matches(/^-?[a-z_]*(\.[a-z_]*)?\*?$/, { message: 'must be like user.update, a prefix like user.*, or -user.update' })
  action?: string;

  /** What was changed: an id or a slug, the username or e-mail of a user, or `platform` */
  @ApiPropertyOptional({ example: 'ada', minLength: 1, maxLength: 254 })
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  target?: string;
}

export class VerifyAuditQuery {
  /** A `head` that was noted earlier, which must still be in the chain */
  @ApiPropertyOptional({ pattern: '^[0-9a-f]{64}$' })
  @MayBeMissing()
  @Matches(/^[0-9a-f]{64}$/, { message: 'must have 64 hexadecimal digits' })
  head?: string;
}

/** An entry of the audit log: who changed what. */
export class AuditEntryResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  at!: string;

  /**
   * The id of the user; null for the server itself
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
    description: 'The changed fields with their old and new values; a secret has neither',
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

/** The first fault in the chain. */
export class AuditFaultResponse {
  /**
   * The id of the entry; null if nothing of the entry is left
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  id!: string | null;

  /**
   * The position in the chain, from 1; null for an entry that is not in the chain and that the server did not write
   * @example 17
   */
  @ApiProperty({ type: 'integer', nullable: true })
  position!: number | null;

  /** @example altered */
  fault!: 'altered' | 'removed';
}

/** Whether the audit log is the same as when it was sealed. */
export class AuditVerdictResponse {
  /** @example true */
  ok!: boolean;

  /**
   * Number of entries in the chain
   * @example 4711
   */
  @ApiProperty({ type: 'integer' })
  sealed!: number;

  /**
   * The hash of the last link; null if nothing is sealed yet. Note it elsewhere, and send it as `head` later to detect
   * removed entries
   * @example 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
   */
  head!: string | null;

  /**
   * Number of entries that are not in the chain yet: those of the last second
   * @example 0
   */
  @ApiProperty({ type: 'integer' })
  unsealed!: number;

  /** The first entry that was altered or removed, if `ok` is false */
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
