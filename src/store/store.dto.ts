import { ApiProperty, ApiPropertyOptional, type ApiPropertyOptions } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean, IsInt, IsString, Length, Max, MaxLength, Min } from 'class-validator';
import { PageQuery } from '../common/page.js';
import { IsStorable, MayBeMissing } from '../common/text.js';
import { MAX_ITEMS, MAX_KEY_BYTES, MAX_TTL_SECONDS, ON_CONFLICT, type OnConflict } from './store-body.js';

// These classes only document the bodies. store-body.ts reads them, because it keeps the text of values.

const EXAMPLE_KEY = 'carts/17';
const EXAMPLE_VALUE = { items: ['tea', 'sugar'], total: 12.5 };
const KEY = { minLength: 1, maxLength: MAX_KEY_BYTES, example: EXAMPLE_KEY };

/** Any JSON. */
const ANY = {
  oneOf: [
    { type: 'object' },
    { type: 'array', items: {} },
    { type: 'string' },
    { type: 'number' },
    { type: 'boolean' },
  ],
  nullable: true,
  example: EXAMPLE_VALUE,
};
const VERSION = { type: 'integer', minimum: 1, example: 42 } as const;

const OWNER: ApiPropertyOptions = {
  type: 'string',
  maxLength: 254,
  example: 'me',
  description: 'Administrators only: the owner of the store (id, username or e-mail)',
};

export class WriteEntryDto {
  @ApiProperty({ ...KEY, description: '1 to 512 bytes of UTF-8, without U+0000' })
  key!: string;

  @ApiProperty({
    ...ANY,
    description: 'Any JSON, up to 256 KiB and 64 levels; its text is kept, except whitespace outside strings',
  })
  value!: unknown;

  @ApiPropertyOptional({
    type: 'integer',
    minimum: 1,
    maximum: MAX_TTL_SECONDS,
    description: 'Seconds until the entry expires; without it, the entry never expires',
  })
  ttlSeconds?: number;

  @ApiPropertyOptional({
    type: 'integer',
    minimum: 0,
    description:
      'Write only if the stored version is this one; 0: only if the key does not exist. Takes precedence over `onConflict`',
  })
  ifVersion?: number;
}

/** Entries to write. */
export class WriteDto {
  @ApiProperty({
    ...{ type: [WriteEntryDto], minItems: 1, maxItems: MAX_ITEMS },
    example: [{ key: EXAMPLE_KEY, value: EXAMPLE_VALUE }],
  })
  entries!: WriteEntryDto[];

  @ApiPropertyOptional({
    enum: ON_CONFLICT,
    default: 'skip',
    example: 'replace',
    description:
      'How to handle an entry whose key exists: `skip` keeps the stored entry and warns, `replace` overwrites it, `fail` rejects the whole batch',
  })
  onConflict?: OnConflict;

  @ApiPropertyOptional({
    type: 'boolean',
    default: false,
    example: false,
    description: 'All or none: a conflict or an exceeded quota rejects the whole batch',
  })
  atomic?: boolean;

  @ApiPropertyOptional(OWNER)
  owner?: string;
}

/** The result of writing one entry. */
export class EntryResult {
  @ApiProperty(KEY)
  key!: string;

  @ApiProperty({
    enum: ['written', 'skipped', 'failed', 'aborted'],
    example: 'written',
    description: '`failed`: see `code`; `aborted`: not written because another entry of the batch failed',
  })
  status!: 'written' | 'skipped' | 'failed' | 'aborted';

  @ApiPropertyOptional({ ...VERSION, description: 'The version now stored' })
  version?: number;

  @ApiPropertyOptional({ enum: ['version_mismatch', 'quota_exceeded'], example: 'version_mismatch' })
  code?: 'version_mismatch' | 'quota_exceeded';
}

export class WriteResponse {
  @ApiProperty({ type: 'integer', example: 1, description: 'Number of entries written' })
  written!: number;

  @ApiProperty({
    type: 'integer',
    example: 0,
    description: 'Number of entries that already exist and were not changed',
  })
  skipped!: number;

  @ApiProperty({ type: [EntryResult], description: 'In the order of the request' })
  results!: EntryResult[];

  @ApiProperty({ type: [String], example: [], description: 'One sentence for each skipped entry' })
  warnings!: string[];
}

/** Keys to read. */
export class ReadDto {
  @ApiProperty({ type: [String], minItems: 1, maxItems: MAX_ITEMS, example: [EXAMPLE_KEY] })
  keys!: string[];

  @ApiPropertyOptional({
    enum: ['fail', 'report'],
    default: 'fail',
    example: 'report',
    description:
      'How to handle missing keys: `fail` returns 404 and lists them, `report` returns the other entries and lists the missing keys',
  })
  onMissing?: 'fail' | 'report';

  @ApiPropertyOptional(OWNER)
  owner?: string;
}

export class EntryResponse {
  @ApiProperty(KEY)
  key!: string;

  @ApiProperty(ANY)
  value!: unknown;

  @ApiProperty(VERSION)
  version!: number;

  @ApiProperty({
    type: 'string',
    format: 'date-time',
    nullable: true,
    example: null,
    description: 'When it is gone; null: never',
  })
  expiresAt!: string | null;
}

/** Entries, all from one snapshot. */
export class ReadResponse {
  @ApiProperty({ type: [EntryResponse], description: 'In the order of the request' })
  entries!: EntryResponse[];

  @ApiProperty({ type: [String], example: [] })
  missing!: string[];
}

/** Keys to delete. */
export class DeleteDto {
  @ApiProperty({ type: [String], minItems: 1, maxItems: MAX_ITEMS, example: [EXAMPLE_KEY] })
  keys!: string[];

  @ApiPropertyOptional(OWNER)
  owner?: string;
}

export class DeleteResponse {
  @ApiProperty({ type: 'integer', example: 1, description: 'Number of entries deleted' })
  deleted!: number;

  @ApiProperty({ type: [String], example: [], description: 'Keys that do not exist' })
  missing!: string[];
}

export class PutResponse {
  @ApiProperty(KEY)
  key!: string;

  @ApiProperty({ ...VERSION, description: 'Higher than every earlier version in this store; also in `ETag`' })
  version!: number;
}

export class StoreItem {
  @ApiProperty(KEY)
  key!: string;

  @ApiPropertyOptional({ ...ANY, description: 'With `values=true`' })
  value?: unknown;

  @ApiProperty(VERSION)
  version!: number;

  @ApiProperty({
    type: 'string',
    format: 'date-time',
    nullable: true,
    example: null,
    description: 'When it is gone; null: never',
  })
  expiresAt!: string | null;

  @ApiProperty({
    type: 'string',
    format: 'uuid',
    example: '019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c',
    description: 'The id of the user who owns the entry',
  })
  owner!: string;
}

/** One page of a store, ordered by key (code point order); for all stores, ordered by owner and key. */
export class StorePage {
  @ApiProperty({ type: [StoreItem] })
  data!: StoreItem[];

  @ApiProperty({ type: 'string', nullable: true, example: null, description: 'For `?cursor=`; null on the last page' })
  nextCursor!: string | null;
}

export class ListStoreQuery extends PageQuery {
  /** List only keys that begin with this text */
  @MayBeMissing()
  @IsString()
  @MaxLength(MAX_KEY_BYTES)
  @IsStorable()
  prefix?: string;

  /** List only keys after this text, which need not be a key, in the order of their UTF-8 bytes */
  @MayBeMissing()
  @IsString()
  @MaxLength(MAX_KEY_BYTES)
  @IsStorable()
  after?: string;

  /** Whether to include the values */
  @ApiPropertyOptional({ default: false })
  @MayBeMissing()
  @Transform(({ value }: { value: unknown }) => FLAGS.get(value) ?? value)
  @IsBoolean()
  values?: boolean;

  /**
   * Administrators only: the owner of the store (id, username or e-mail), or `*` for all stores
   */
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  owner?: string;
}

/** The query of a route for one entry. */
export class EntryQuery {
  /** Administrators only: the owner of the store (id, username or e-mail) */
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  owner?: string;
}

export class PutEntryQuery extends EntryQuery {
  /** Seconds until the entry expires; without it, the entry never expires */
  @ApiPropertyOptional({ type: 'integer' })
  @MayBeMissing()
  @Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d{1,12}$/.test(value) ? Number(value) : value,
  )
  @IsInt()
  @Min(1)
  @Max(MAX_TTL_SECONDS)
  ttl?: number;
}

const FLAGS = new Map<unknown, boolean>([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
]);
