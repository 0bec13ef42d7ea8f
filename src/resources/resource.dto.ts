import { ApiProperty } from '@nestjs/swagger';
import { IsString, Length } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { NewOwnedDto, OwnedPageQuery } from '../http/caller/owner.js';
import { IsStorable } from '../common/text.js';
import type { ResourceRow } from './resources.repository.js';

export class CreateResourceDto extends NewOwnedDto {
  /**
   * 1 to 4,096 characters, stored unchanged
   */
  @ApiProperty({ example: 'a text of mine' })
  @IsString()
  @Length(1, 4096)
  @IsStorable()
  value!: string;
}

export class ListResourcesQuery extends OwnedPageQuery {}

/** A text that belongs to a user. */
export class ResourceResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /**
   * The id of the user who owns the resource
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string;

  @ApiProperty({ example: 'a text of mine' })
  value!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;
}

/** One page of resources, newest first. */
export class ResourcePage {
  data!: ResourceResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toResourceResponse(resource: ResourceRow): ResourceResponse {
  return {
    id: resource.id,
    owner: resource.ownerId,
    value: resource.value,
    createdAt: resource.createdAt.toISOString(),
  };
}
