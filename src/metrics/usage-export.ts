import { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import type { UsageQuery, UsageResponse } from './metrics.dto.js';
import { MetricsRepository, type UsageRow } from './metrics.repository.js';
import { rangeOf } from './range.js';

/** Exports of one process at a time: each holds a connection for as long as its reader takes. */
const MAX_AT_ONCE = 2;

const FIELDS = ['hour', 'owner', 'key', 'meter', 'granted', 'denied'] as const;

export interface Export {
  type: string;
  /** As large as the ledger is: read as fast as the reader takes it. */
  text: Readable;
}

/** The ledger as a file: what was used, by hour, owner, key and meter. */
@Injectable()
export class UsageExport {
  private running = 0;

  constructor(private readonly metrics: MetricsRepository) {}

  /** @throws Problem validation_failed for a stretch that cannot be; overloaded while others export */
  async open(query: UsageQuery): Promise<Export> {
    const range = rangeOf({ ...query, from: query.from ?? startOfMonth(query.to) }, 'hour', 1);
    if (this.running >= MAX_AT_ONCE) throw new Problem('overloaded', { retryAfter: 5 });
    this.running++;
    const batches = this.metrics.usage(range);
    try {
      // What goes wrong at the start still gets an answer that says so.
      const first = await batches.next();
      const lines = this.lines(first.done === true ? [] : first.value, batches, query.format);
      const type = query.format === 'csv' ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson';
      const text = Readable.from(lines, { objectMode: false });
      // Also where the reader has gone before anything was read: then `lines` has not even begun, and ends nothing.
      text.once('close', () => {
        void batches.return(undefined).finally(() => this.running--);
      });
      return { type, text };
    } catch (error) {
      this.running--;
      throw error;
    }
  }

  private async *lines(
    first: UsageRow[],
    rest: AsyncGenerator<UsageRow[]>,
    format: UsageQuery['format'],
  ): AsyncGenerator<string> {
    const write = format === 'csv' ? toCsv : toJson;
    if (format === 'csv') yield `${FIELDS.join(',')}\n`;
    if (first.length > 0) yield first.map(write).join('');
    for await (const rows of rest) yield rows.map(write).join('');
  }
}

function toUsage({ hour, ownerId, keyId, ...row }: UsageRow): UsageResponse {
  return { hour: hour.toISOString(), owner: ownerId, key: keyId, ...row };
}

function toJson(row: UsageRow): string {
  return `${JSON.stringify(toUsage(row))}\n`;
}

/** RFC 4180. No field has a comma, a quote or a line break: ids, times, slugs and numbers. */
function toCsv(row: UsageRow): string {
  const usage = toUsage(row);
  return `${FIELDS.map((field) => usage[field]).join(',')}\n`;
}

/** When the month began that runs, or that holds the last moment before `to`. */
function startOfMonth(to?: string): string {
  const last = to === undefined ? new Date() : new Date(Date.parse(to) - 1);
  return new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth())).toISOString();
}
