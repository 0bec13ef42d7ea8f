import { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import type { UsageQuery, UsageResponse } from './metrics.dto.js';
import { MetricsRepository, type Range, type UsageRow } from './metrics.repository.js';
import { rangeOf } from './range.js';

/** Maximum concurrent exports of a process: each holds a connection until its reader is done. */
const MAX_AT_ONCE = 2;

const FIELDS = ['hour', 'owner', 'ownerName', 'key', 'keyName', 'meter', 'granted', 'denied'] as const;

export interface Export {
  type: string;
  /** The file name for `Content-Disposition`. */
  fileName: string;
  /** The stream of lines. Reads the ledger only as fast as the client receives it. */
  text: Readable;
}

/** Exports the ledger as a file: usage by hour, owner, key and meter. */
@Injectable()
export class UsageExport {
  private running = 0;

  constructor(private readonly metrics: MetricsRepository) {}

  /** @throws Problem validation_failed for an invalid range; overloaded if too many exports are running */
  async open(query: UsageQuery): Promise<Export> {
    const range = rangeOf({ ...query, from: query.from ?? startOfMonth(query.to) }, 'hour', 1);
    if (this.running >= MAX_AT_ONCE) throw new Problem('overloaded', { retryAfter: 5 });
    this.running++;
    const batches = this.metrics.usage(range);
    try {
      // Read the first batch before the response starts, so that an early error still gets an error response.
      const first = await batches.next();
      const lines = this.lines(first.done === true ? [] : first.value, batches, query.format);
      const type = query.format === 'csv' ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson';
      const text = Readable.from(lines, { objectMode: false });
      // If the client disconnects before the first read, `lines` never starts and cannot end `batches` itself.
      text.once('close', () => {
        void batches.return(undefined).finally(() => this.running--);
      });
      return { type, fileName: fileNameOf(range, query.format), text };
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

/** Returns a name such as `usage-2026-11-01T00-2026-11-21T09.csv`, with hours in UTC; the last hour is excluded. */
function fileNameOf({ from, to }: Range, format: UsageQuery['format']): string {
  const hour = (moment: Date): string => moment.toISOString().slice(0, 13);
  return `usage-${hour(from)}-${hour(to)}.${format === 'csv' ? 'csv' : 'ndjson'}`;
}

function toUsage(row: UsageRow): UsageResponse {
  const { hour, ownerId, ownerName, keyId, keyName, meter, granted, denied } = row;
  return { hour: hour.toISOString(), owner: ownerId, ownerName, key: keyId, keyName, meter, granted, denied };
}

function toJson(row: UsageRow): string {
  return `${JSON.stringify(toUsage(row))}\n`;
}

function toCsv(row: UsageRow): string {
  const usage = toUsage(row);
  return `${FIELDS.map((field) => cellOf(usage[field] ?? '')).join(',')}\n`;
}

/**
 * Returns a CSV field (RFC 4180). Users choose the names of their keys: a name that a spreadsheet would run as a
 * formula gets a leading apostrophe (OWASP, CSV injection).
 */
function cellOf(value: string | number): string {
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Returns the start of the current month, or of the month that contains the last moment before `to`. */
function startOfMonth(to?: string): string {
  const last = to === undefined ? new Date() : new Date(Date.parse(to) - 1);
  return new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth())).toISOString();
}
