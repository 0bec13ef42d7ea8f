import { ApiProperty, ApiPropertyOptional, OmitType, PartialType } from '@nestjs/swagger';
import { IsString, MaxLength } from 'class-validator';
import { ApiTime } from '../common/formats.js';
import { IsLabel, IsMatch, IsStorable, MayBeNull, isStorable } from '../common/text.js';
import { IsSlug } from '../quota/quota.dto.js';
import type { Api } from './api.entity.js';

/** Whether a text is a URL that calls can be forwarded to. */
function isUpstream(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return (
    /^https?:\/\/[^\s\\?#]+$/.test(text) &&
    isStorable(text) &&
    url?.username === '' &&
    url.password === '' &&
    text.length <= 2_048
  );
}

export class CreateApiDto {
  /**
   * Lower-case letters, digits, and hyphens between them. Cannot be changed, because meters contain it
   * @example maps
   */
  @IsSlug()
  slug!: string;

  /** The display name */
  @ApiProperty({ example: 'Maps', minLength: 1, maxLength: 100 })
  @IsLabel(100)
  name!: string;

  /** A fixed text to return for calls */
  @ApiPropertyOptional({ type: String, nullable: true, example: 'MAPS', maxLength: 65_536 })
  @MayBeNull()
  @IsString()
  @MaxLength(65_536)
  @IsStorable()
  answer?: string | null;

  /** The URL to forward calls to, instead of an answer */
  @ApiPropertyOptional({ type: String, format: 'uri', nullable: true, example: 'http://127.0.0.1:8080/maps' })
  @MayBeNull()
  @IsMatch('isUpstream', isUpstream, 'be an http or https URL without user, query and fragment')
  upstream?: string | null;
}

/** Changes to an API. Missing members stay unchanged; `null` clears a value. */
export class UpdateApiDto extends PartialType(OmitType(CreateApiDto, ['slug']), {
  skipNullProperties: false,
}) {}

/** An API of the catalogue. */
export class ApiResponse {
  /** @example maps */
  slug!: string;

  /** @example Maps */
  name!: string;

  /**
   * The fixed text returned for calls
   * @example MAPS
   */
  answer!: string | null;

  /** The URL that calls are forwarded to; visible to administrators only */
  @ApiPropertyOptional({ type: String, format: 'uri', nullable: true, example: 'http://127.0.0.1:8080/maps' })
  upstream?: string | null;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  updatedAt!: string;
}

/** One page of the catalogue, newest first. */
export class ApiPage {
  data!: ApiResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

/** @param isAdmin whether to include the upstream */
export function toApiResponse(api: Api, isAdmin: boolean): ApiResponse {
  return {
    slug: api.slug,
    name: api.name,
    answer: api.answer,
    ...(isAdmin ? { upstream: api.upstream } : {}),
    createdAt: api.createdAt.toISOString(),
    updatedAt: api.updatedAt.toISOString(),
  };
}
