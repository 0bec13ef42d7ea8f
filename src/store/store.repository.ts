import { Injectable } from '@nestjs/common';
import { tally } from '../common/tally.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Database, type Transaction } from '../database/database.js';
import { ON_CONFLICT, type NewEntry, type OnConflict } from './store-body.js';
import {
  DELETE,
  FIND,
  FIND_ALL,
  FULL_VALUES,
  EXPORT_OWNED,
  LIST_ALL,
  LIST_OWNED,
  MAX_ANSWER_BYTES,
  SWEEP,
  WRITE,
} from './store.statements.js';

/** Sorts after every key: the highest code point, repeated once more than a key can hold. */
export const AFTER_ALL_KEYS = '\u{10ffff}'.repeat(129);

/** Keys of one owner. */
interface Keys {
  ownerId: string;
  keys: string[];
}

interface EntryKey {
  ownerId: string;
  key: string;
}

export interface Found {
  /** JSON text. */
  value: string;
  version: number;
}

export interface FoundAll {
  /** JSON objects with key, value, version and expiresAt, in request order; null: the values are too large together. */
  entries: string[] | null;
  missing: string[];
  /** Total size of the values; 0 if the request is too small to exceed the limit. */
  bytes: number;
}

export interface WriteRequest {
  ownerId: string;
  onConflict: OnConflict;
  atomic: boolean;
  entries: NewEntry[];
}

/**
 * The result of writing an entry: n(ew), w(ritten over an existing entry), s(kipped: the key exists), m(ismatch of
 * versions), q(uota exceeded), a(borted, because another entry of the request failed).
 */
export type Verdict = 'n' | 'w' | 's' | 'm' | 'q' | 'a';

export interface WriteVerdict {
  verdicts: Verdict[];
  /** The current version of each entry; null if it does not exist. */
  versions: (number | null)[];
  /** The first quota denial: the limits that were checked and the requested amounts. */
  denial: { entryLimits: string; byteLimits: string; entryCost: number; byteCost: number } | null;
}

/** The result of one wave of requests (see the SQL function write_entries). */
interface WriteRow {
  wave: number;
  verdicts: string;
  versions: (number | null)[];
  /** The places of the requests that exceed a quota. The arrays below have one element for each. */
  denials: number[];
  entryLimits: string[];
  byteLimits: string[];
  entryCosts: number[];
  byteCosts: number[];
}

export interface DeleteRequest extends Keys {
  /** As in NewEntry; applies to all keys. */
  ifVersion: number | null;
}

/** The result of deleting a key: d(eleted), n(ot found), m(ismatch of versions). */
export type Deletion = 'd' | 'n' | 'm';

export interface ListedEntry {
  ownerId: string;
  key: string;
  version: number;
  expiresAt: Date | null;
  /** JSON text; null if values are not requested. */
  value: string | null;
}

/** The range of keys of a page. */
export interface Range {
  /** `from` is inclusive, `before` is exclusive. */
  from: string;
  before: string;
  limit: number;
  withValues: boolean;
}

/** A statement carries about 2,000 small entries or 1 MiB of large ones. 64 times as much may wait. */
const MAX_WRITTEN = 2_048;
const BYTES_A_UNIT = 512;

/** Keys per statement. 512 values of maximum size are 128 MiB. */
const MAX_READ = 512;

const MAX_WAITING = 131_072;

/** An entry of an export. `value` is JSON text. */
export interface StoredEntry {
  key: string;
  value: string;
  /** Seconds until it expires; null: it never does. */
  ttlSeconds: number | null;
}

@Injectable()
export class StoreRepository {
  private readonly found: Coalescer<EntryKey, Found | null>;
  private readonly foundAll: Coalescer<Keys, FoundAll>;
  private readonly written: Coalescer<WriteRequest, WriteVerdict | null>;
  private readonly deleted: Coalescer<DeleteRequest, Deletion[]>;

  constructor(private readonly database: Database) {
    this.found = new Coalescer((keys) => this.findEach(keys), {
      name: 'store_read',
      key: ({ ownerId, key }) => ownerId + key,
      readOnly: true,
    });
    this.foundAll = new Coalescer((batch) => this.findBatches(batch), {
      name: 'store_read_all',
      sizeOf: ({ keys }) => keys.length,
      maxBatch: MAX_READ,
      maxWaiting: MAX_WAITING,
      readOnly: true,
    });
    this.written = new Coalescer((batch) => this.writeAll(batch), {
      name: 'store_write',
      sizeOf: ({ entries }) =>
        entries.reduce((size, { value }) => size + 1 + Math.floor(value.length / BYTES_A_UNIT), 0),
      maxBatch: MAX_WRITTEN,
      maxWaiting: MAX_WAITING,
    });
    this.deleted = new Coalescer((batch) => this.deleteAll(batch), {
      name: 'store_delete',
      sizeOf: ({ keys }) => keys.length,
      maxBatch: MAX_WRITTEN,
      maxWaiting: MAX_WAITING,
    });
  }

  find(ownerId: string, key: string): Promise<Found | null> {
    return this.found.add({ ownerId, key });
  }

  /** Reads all keys in one snapshot. */
  findAll(ownerId: string, keys: string[]): Promise<FoundAll> {
    return this.foundAll.add({ ownerId, keys });
  }

  /**
   * Writes entries and charges the gauges of their owner, in one transaction.
   * @param tx the caller's transaction; without one, the write is coalesced with concurrent writes
   * @returns null if the owner does not exist
   */
  async write(request: WriteRequest, tx?: Transaction): Promise<WriteVerdict | null> {
    if (!tx) return this.written.add(request);
    const [verdict] = await this.writeAll([request], tx);
    return verdict ?? null;
  }

  /** Deletes entries and releases their quota. @returns one result per key */
  delete(request: DeleteRequest): Promise<Deletion[]> {
    return this.deleted.add(request);
  }

  listOwned(ownerId: string, { from, before, limit, withValues }: Range): Promise<ListedEntry[]> {
    return this.database.query<ListedEntry>(LIST_OWNED, [ownerId, from, before, limit, withValues]);
  }

  /** Lists the entries of all owners, ordered by owner id. @param first where the keys of later owners start */
  listAll(firstOwner: string, first: string, { from, before, limit, withValues }: Range): Promise<ListedEntry[]> {
    return this.database.query<ListedEntry>(LIST_ALL, [firstOwner, from, before, limit, withValues, first]);
  }

  /** Reads the store of an owner in one snapshot. */
  stream(ownerId: string, entriesATime: number): AsyncGenerator<StoredEntry[]> {
    return this.database.stream<StoredEntry>(EXPORT_OWNED, [ownerId], entriesATime);
  }

  /** Deletes at most `most` expired entries. @returns the number deleted; 0 also while another node sweeps */
  async sweep(most: number): Promise<number> {
    const rows = await this.database.query<{ count: number }>(SWEEP, [most]);
    return rows[0]?.count ?? 0;
  }

  private async findEach(keys: readonly EntryKey[]): Promise<(Found | null)[]> {
    const values = [keys.map((each) => each.ownerId), keys.map((each) => each.key)];
    return inPlace(await this.database.query<Found & { place: number }>(FIND, values), keys.length);
  }

  private async findBatches(batch: readonly Keys[]): Promise<FoundAll[]> {
    let end = 0;
    const ends = batch.map(({ keys }) => (end += keys.length));
    const statement = batch.some(({ keys }) => keys.length > FULL_VALUES) ? FIND_ALL.bounded : FIND_ALL.unbounded;
    const rows = await this.database.query<{ place: number; fields: string | null; bytes: number | null }>(statement, [
      batch.map((request) => request.ownerId),
      batch.map((request, i) => (ends[i] ?? 0) - request.keys.length + 1),
      ends,
      batch.flatMap((request) => request.keys),
    ]);
    return inPlace(rows, batch.length).map((row, i) =>
      toFoundAll(batch[i]?.keys ?? [], row?.fields ?? '', row?.bytes ?? 0),
    );
  }

  private async writeAll(batch: readonly WriteRequest[], tx?: Transaction): Promise<(WriteVerdict | null)[]> {
    const waves = wavesOf(batch);
    const entries = batch.flatMap((request) => request.entries);
    const places = batch.flatMap((request, i) => request.entries.map(() => i + 1));
    const asked = new Map(batch.map(({ ownerId }) => [ownerId, { entries: 0, bytes: 0 }]));
    const askedBy = (place: number) => asked.get(batch[place]?.ownerId ?? '') ?? { entries: 0, bytes: 0 };
    let end = 1;
    const starts = entries.map(({ value }) => (end += value.length) - value.length);
    const turns = entries.map(({ key, value }, i) => {
      const owner = askedBy((places[i] ?? 0) - 1);
      owner.bytes += Buffer.byteLength(key) + value.length;
      return ++owner.entries;
    });
    const values = [
      batch.map((request) => request.ownerId),
      batch.map((_request, i) => askedBy(i).entries),
      batch.map((_request, i) => askedBy(i).bytes),
      batch.map((request) => ON_CONFLICT.indexOf(request.onConflict)),
      batch.map((request) => request.atomic),
      waves,
      places,
      entries.map((entry) => entry.key),
      starts,
      entries.map((entry) => entry.value.length),
      entries.map((entry) => entry.ttlSeconds),
      entries.map((entry) => entry.ifVersion),
      turns,
      Buffer.concat(entries.map((entry) => entry.value)),
    ];
    const rows = await this.database.query<WriteRow>(WRITE, values, tx);
    for (const { verdicts } of rows) {
      const denied = verdicts.split('q').length - 1;
      tally.count('store', verdicts.split(/[nw]/).length - 1, denied);
    }
    return toVerdicts(batch, waves, rows);
  }

  private async deleteAll(batch: readonly DeleteRequest[]): Promise<Deletion[][]> {
    const rows = await this.database.query<{ place: number; verdicts: string }>(DELETE, [
      batch.map((request) => request.ownerId),
      batch.flatMap((request, i) => request.keys.map(() => i + 1)),
      batch.flatMap((request) => request.keys),
      batch.flatMap((request) => request.keys.map(() => request.ifVersion)),
    ]);
    return inPlace(rows, batch.length).map((row) => [...(row?.verdicts ?? '')] as Deletion[]);
  }
}

/** Escapes the line breaks of a key. */
function toLine(key: string): string {
  return key.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** Sorts the found entries into request order. @param fields see FIND_ALL */
function toFoundAll(keys: readonly string[], fields: string, bytes: number): FoundAll {
  if (bytes > MAX_ANSWER_BYTES) return { entries: null, missing: [], bytes };
  const lines = fields.split('\n');
  const found = new Map<string, number>();
  for (let i = 0; i + 3 < lines.length; i += 4) found.set(lines[i] ?? '', i);
  const entries: string[] = [];
  const missing: string[] = [];
  for (const key of keys) {
    const at = found.get(toLine(key));
    if (at === undefined) {
      missing.push(key);
      continue;
    }
    const [value = '', version = '', expiry = ''] = [lines[at + 1], lines[at + 2], lines[at + 3]];
    const expiresAt = expiry === '' ? 'null' : `"${new Date(Number(expiry)).toISOString()}"`;
    entries.push(`{"key":${JSON.stringify(key)},"value":${value},"version":${version},"expiresAt":${expiresAt}}`);
  }
  return { entries, missing, bytes };
}

/** Assigns each request a wave number. Requests that write the same key of an owner get different, rising waves. */
function wavesOf(batch: readonly WriteRequest[]): number[] {
  if (batch.length === 1) return [1];
  const latest = new Map<string, number>();
  return batch.map(({ ownerId, entries }) => {
    const names = entries.map(({ key }) => ownerId + key);
    const wave = 1 + Math.max(...names.map((name) => latest.get(name) ?? 0));
    for (const name of names) latest.set(name, wave);
    return wave;
  });
}

/** Splits the verdicts by request. A wave's row holds the verdicts of its requests in order. */
function toVerdicts(
  batch: readonly WriteRequest[],
  waves: readonly number[],
  rows: readonly WriteRow[],
): (WriteVerdict | null)[] {
  const byWave = new Map(rows.map((row) => [row.wave, { ...row, next: 0 }]));
  const denials = rows.at(-1);
  return batch.map(({ entries }, i) => {
    const row = byWave.get(waves[i] ?? 0);
    if (!row) throw new Error('A write got no verdict');
    const start = row.next;
    row.next += entries.length;
    const verdicts = [...row.verdicts.slice(start, row.next)];
    if (verdicts.includes('u')) return null;
    const place = denials?.denials.indexOf(i + 1) ?? -1;
    return {
      verdicts: verdicts as Verdict[],
      versions: row.versions.slice(start, row.next),
      denial:
        denials === undefined || place === -1
          ? null
          : {
              entryLimits: denials.entryLimits[place] ?? '',
              byteLimits: denials.byteLimits[place] ?? '',
              entryCost: denials.entryCosts[place] ?? 0,
              byteCost: denials.byteCosts[place] ?? 0,
            },
    };
  });
}
