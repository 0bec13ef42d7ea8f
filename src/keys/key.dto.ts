import { ApiProperty, ApiPropertyOptional, PartialType, PickType } from '@nestjs/swagger';
import {
  ArrayMaxSize,
  ArrayUnique,
  IsArray,
  IsBoolean,
  IsInt,
  IsString,
  Length,
  Matches,
  Max,
  Min,
} from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { PageQuery } from '../common/page.js';
import { IsFuture, IsLabel, IsStorable, MayBeMissing, MayBeNull } from '../common/text.js';
import { AreLimits, LimitDto, QuotaResponse } from '../quota/quota.dto.js';
import type { KeyState } from './keys.service.js';

/** A slug, a prefix of slugs followed by `*`, or `*`. */
const SCOPE = /^(\*|[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?|[a-z0-9][a-z0-9-]{0,62}\*)$/;

const MAX_SCOPES = 100;

export class CreateKeyDto {
  /** The display name */
  @ApiProperty({ example: 'my server', minLength: 1, maxLength: 100 })
  @IsLabel(100)
  name!: string;

  /** The APIs that the key may call: slugs, prefixes followed by `*`, or `*` for all. An empty list allows none */
  @ApiProperty({ type: [String], example: ['api1'] })
  @IsArray()
  @ArrayMaxSize(MAX_SCOPES)
  @ArrayUnique()
  @IsString({ each: true })
  @Matches(SCOPE, { each: true, message: 'must be a slug, the start of a slug and *, or *' })
  scopes!: string[];

  /** When the key expires; missing or `null`: never */
  @ApiPropertyOptional({ type: String, format: 'date-time', nullable: true, example: '2030-01-01T00:00:00Z' })
  @MayBeNull()
  @IsFuture()
  expiresAt?: string | null;

  /** Limits of the key, in addition to those of its owner */
  @AreLimits({ meter: 'api:api1', window: 'minute', limit: 100 })
  limits?: LimitDto[];

  /**
   * Administrators only: the owner of the new key (id, username or e-mail). Default: the caller
   * @example me
   */
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  owner?: string;
}

/** Changes to a key. Missing members stay unchanged, `scopes` replaces the whole list, `null` clears `expiresAt`. */
export class UpdateKeyDto extends PartialType(PickType(CreateKeyDto, ['name', 'scopes', 'expiresAt']), {
  skipNullProperties: false,
}) {
  /**
   * A disabled key is rejected from its next request on
   * @example true
   */
  @MayBeMissing()
  @IsBoolean()
  disabled?: boolean;
}

/** 31 days. */
const MAX_GRACE = 2_678_400;

export class RotateKeyDto {
  static readonly mayBeMissing = true;

  /** Seconds for which the old secret stays valid. Default: 0, the old secret becomes invalid at once */
  @ApiPropertyOptional({ type: 'integer', minimum: 0, maximum: MAX_GRACE, default: 0, example: 3_600 })
  @MayBeMissing()
  @IsInt()
  @Min(0)
  @Max(MAX_GRACE)
  graceSeconds?: number;
}

export class ListKeysQuery extends PageQuery {
  /**
   * Administrators only: the owner (id, username or e-mail), or `*` for all owners
   * @example me
   */
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  owner?: string;
}

/** A key to the metered APIs, without its secret. */
export class KeyResponse {
  /** Does not change when the key is rotated
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /**
   * The id of the user who owns the key
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string;

  /** @example my server */
  name!: string;

  /**
   * The first characters of the secret
   * @example qm_4fK9
   */
  hint!: string;

  /** @example ["api1"] */
  scopes!: string[];

  disabled!: boolean;

  /** @example 2030-01-01T00:00:00.000Z */
  @ApiTime()
  expiresAt!: string | null;

  /**
   * The time of the last call, granted or denied by a limit
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  lastUsedAt!: string | null;

  /** The limits of the key and their usage */
  limits!: QuotaResponse[];

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  updatedAt!: string;
}

/** A key with its secret, which is returned only this once. */
export class IssuedKeyResponse extends KeyResponse {
  /** @example qm_0bX3q7VtGm9yK2aWc5dEfHjLnPrTvXzB1D3F5H7J9Lo0aBcD1 */
  key!: string;
}

/** One page of keys, newest first. */
export class KeyPage {
  data!: KeyResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toKeyResponse({ key, limits, lastUsedAt }: KeyState): KeyResponse {
  return {
    id: key.id,
    owner: key.ownerId,
    name: key.name,
    hint: key.hint,
    scopes: key.scopes,
    disabled: key.disabled,
    expiresAt: key.expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    limits,
    createdAt: key.createdAt.toISOString(),
    updatedAt: key.updatedAt.toISOString(),
  };
}
