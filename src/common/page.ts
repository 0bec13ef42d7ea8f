import { createHmac } from 'node:crypto';
import { Injectable, applyDecorators } from '@nestjs/common';
import { ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { Secrets } from '../config/secrets.js';
import { isEqual } from './bytes.js';
import { Problem } from './problem.js';
import { MayBeMissing } from './text.js';

/** Maximum number of items of a list. */
export const MAX_LENGTH = 100;

/** Number of items of a list if the request asks for no number. */
export const USUAL_LENGTH = 50;

/** Validates the requested number of items. */
export const IsLength = (byDefault: number): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({
      ...{ description: 'The maximum number of items', minimum: 1, maximum: MAX_LENGTH },
      ...{ default: byDefault, type: 'integer' },
    }),
    // Accepts decimal digits only: Number('') is 0 and Number('0x10') is 16.
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' && /^\d{1,9}$/.test(value) ? +value : value,
    ),
    IsInt(),
    Min(1),
    Max(MAX_LENGTH),
  );

/** `?limit=` and `?cursor=` of every list. */
export class PageQuery {
  @IsLength(USUAL_LENGTH)
  limit = USUAL_LENGTH;

  @ApiPropertyOptional({ description: '`nextCursor` of the previous page' })
  @MayBeMissing()
  @IsString()
  @MaxLength(1024)
  cursor?: string;
}

/** One page of a list, newest first unless the route says otherwise. `nextCursor` is null on the last page. */
export interface Page<T> {
  data: T[];
  nextCursor: string | null;
}

/**
 * Cursors hold the position where the next page begins, with a MAC: only a cursor that this platform issued for the
 * same list is accepted. The MAC keeps clients from relying on the content, so that it can change. It is not an access
 * check: every query has the owner in its WHERE.
 */
@Injectable()
export class Cursors {
  private readonly key: Buffer;

  constructor(secrets: Secrets) {
    this.key = secrets.derive('cursor');
  }

  /** @param list the list and its filter; a cursor of one list is rejected by every other */
  seal(list: string, position: string): string {
    const body = Buffer.from(position);
    return Buffer.concat([this.mac(list, body), body]).toString('base64url');
  }

  /** @throws Problem validation_failed if `seal` did not make the cursor for this list */
  open(list: string, cursor: string): string {
    const bytes = Buffer.from(cursor, 'base64url');
    const [mac, body] = [bytes.subarray(0, 8), bytes.subarray(8)];
    if (bytes.toString('base64url') !== cursor || !isEqual(mac, this.mac(list, body))) {
      throw Problem.field('/cursor', 'is not a cursor of this list');
    }
    return body.toString();
  }

  /**
   * Makes a page from up to `limit` + 1 rows. The extra row tells whether there is a next page.
   * @param position what identifies a row in the list's order
   */
  page<T>(list: string, rows: T[], limit: number, position: (row: T) => string): Page<T> {
    const data = rows.slice(0, limit);
    const last = data.at(-1);
    return { data, nextCursor: rows.length > limit && last ? this.seal(list, position(last)) : null };
  }

  private mac(list: string, body: Buffer): Buffer {
    return createHmac('sha256', this.key).update(list).update('\0').update(body).digest().subarray(0, 8);
  }
}

/** Maps the items of a page. */
export function mapPage<T, R>(page: Page<T>, map: (item: T) => R): Page<R> {
  return { data: page.data.map(map), nextCursor: page.nextCursor };
}
