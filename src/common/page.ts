import { createHmac } from 'node:crypto';
import { Injectable, applyDecorators } from '@nestjs/common';
import { ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { Secrets } from '../config/secrets.js';
import { isEqual } from './bytes.js';
import { Problem } from './problem.js';
import { MayBeMissing } from './text.js';

/** How many items of a list are wanted. */
export const IsLength = (byDefault: number): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({
      ...{ description: 'How many at most', minimum: 1, maximum: 100 },
      ...{ default: byDefault, type: 'integer' },
    }),
    // Number('') is 0 and Number('0x10') is 16: only decimal digits are a number here.
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' && /^\d{1,9}$/.test(value) ? +value : value,
    ),
    IsInt(),
    Min(1),
    Max(100),
  );

/** `?limit=` and `?cursor=` of every list. */
export class PageQuery {
  @IsLength(50)
  limit = 50;

  @ApiPropertyOptional({ description: '`nextCursor` of the page before' })
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
 * Cursors: where the next page begins, sealed so that only what this platform gave out for the same list is taken.
 * The seal keeps clients from building on the inside, which may then change; it guards nothing else, since every
 * query has the owner in its WHERE.
 */
@Injectable()
export class Cursors {
  private readonly key: Buffer;

  constructor(secrets: Secrets) {
    this.key = secrets.derive('cursor');
  }

  /** @param list what is listed and how it is filtered: a cursor of one list is refused by every other. */
  seal(list: string, position: string): string {
    const body = Buffer.from(position);
    return Buffer.concat([this.mac(list, body), body]).toString('base64url');
  }

  /** @throws Problem validation_failed when the cursor was not made by `seal` for this list. */
  open(list: string, cursor: string): string {
    const bytes = Buffer.from(cursor, 'base64url');
    const [mac, body] = [bytes.subarray(0, 8), bytes.subarray(8)];
    if (bytes.toString('base64url') !== cursor || !isEqual(mac, this.mac(list, body))) {
      throw Problem.field('/cursor', 'is not a cursor of this list');
    }
    return body.toString();
  }

  /**
   * Makes a page of rows that were read with one more than `limit`.
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

/** A page whose items are mapped. */
export function mapPage<T, R>(page: Page<T>, map: (item: T) => R): Page<R> {
  return { data: page.data.map(map), nextCursor: page.nextCursor };
}
