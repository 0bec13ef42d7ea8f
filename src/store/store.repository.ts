import { Injectable } from '@nestjs/common';
import type { QueryResultRow } from 'pg';
import { tally } from '../common/tally.js';
import { arrayOf } from '../database/array-of.js';
import { byOwner, inBatchOrder, type ByOwner } from '../database/by-owner.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Database, type Transaction } from '../database/database.js';
import { ON_CONFLICT, type NewEntry, type OnConflict } from './store-body.js';
import {
  DELETE,
  FIND,
  FIND_ALL,
  FULL_VALUES,
  EXPORT_OWNED,
  FIND_EXPIRED,
  LIST_ALL,
  LIST_OWNED,
  LOCK_STORES,
  MAX_ANSWER_BYTES,
  SWEEP,
  WRITE,
  type PerOwner,
} from './store.statements.js';

/** Sorts after every key: the highest code point, repeated once more than a key can hold. */
export const AFTER_ALL_KEYS = '\u{10ffff}'.repeat(129);

/** Key of the advisory lock of the sweeper. An arbitrary number, the same in every process. */
export const SWEEP_LOCK = 0x716d_7377;

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

/** The result of one wave of requests of an owner (see the SQL function write_entries). */
interface WriteRow {
  /** Place of the owner in the batch. */
  owner: number;
  wave: number;
  verdicts: string;
  versions: (number | null)[];
  /** The places, among those of the owner, of the requests that exceed a quota. The arrays below have one element for each. */
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
      partition: ({ ownerId }) => database.partitionOf(ownerId),
      key: ({ ownerId, key }) => ownerId + key,
      readOnly: true,
    });
    this.foundAll = new Coalescer((batch) => this.findBatches(batch), {
      name: 'store_read_all',
      partition: ({ ownerId }) => database.partitionOf(ownerId),
      sizeOf: ({ keys }) => keys.length,
      maxBatch: MAX_READ,
      maxWaiting: MAX_WAITING,
      readOnly: true,
    });
    this.written = new Coalescer((batch) => this.writeAll(batch), {
      name: 'store_write',
      partition: ({ ownerId }) => database.partitionOf(ownerId),
      sizeOf: ({ entries }) =>
        entries.reduce((size, { value }) => size + 1 + Math.floor(value.length / BYTES_A_UNIT), 0),
      maxBatch: MAX_WRITTEN,
      maxWaiting: MAX_WAITING,
    });
    this.deleted = new Coalescer((batch) => this.deleteAll(batch), {
      name: 'store_delete',
      partition: ({ ownerId }) => database.partitionOf(ownerId),
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
    return this.database.transaction(async (tx) => {
      if (!(await this.database.tryLock(tx, SWEEP_LOCK))) return 0;
      const expired = await this.database.query<Keys>(FIND_EXPIRED, [most], tx);
      if (expired.length > 1) await this.database.query(LOCK_STORES, [expired.map(({ ownerId }) => ownerId)], tx);
      let count = 0;
      for (const { ownerId, keys } of expired) {
        const [row] = await this.database.query<{ count: number }>(SWEEP, [ownerId, keys], tx);
        count += row?.count ?? 0;
      }
      return count;
    });
  }

  private async findEach(keys: readonly EntryKey[]): Promise<(Found | null)[]> {
    const rows = await this.read<Found & { place: number }>(FIND, keys, [keys.map((each) => each.key)]);
    return inPlace(rows, keys.length);
  }

  private async findBatches(batch: readonly Keys[]): Promise<FoundAll[]> {
    let end = 0;
    const ends = batch.map(({ keys }) => (end += keys.length));
    const statement = batch.some(({ keys }) => keys.length > FULL_VALUES) ? FIND_ALL.bounded : FIND_ALL.unbounded;
    const rows = await this.read<{ place: number; fields: string | null; bytes: number | null }>(statement, batch, [
      batch.flatMap((request) => request.keys),
      batch.map((request, i) => (ends[i] ?? 0) - request.keys.length + 1),
      ends,
    ]);
    return inPlace(rows, batch.length).map((row, i) =>
      toFoundAll(batch[i]?.keys ?? [], row?.fields ?? '', row?.bytes ?? 0),
    );
  }

  private read<Row extends QueryResultRow>(
    { one, several }: PerOwner,
    batch: readonly { ownerId: string }[],
    values: readonly unknown[],
  ): Promise<Row[]> {
    const owners = batch.map(({ ownerId }) => ownerId);
    return new Set(owners).size === 1
      ? this.database.query<Row>(one, [owners[0], ...values])
      : this.database.query<Row>(several, [owners, ...values]);
  }

  private async writeAll(batch: readonly WriteRequest[], tx?: Transaction): Promise<(WriteVerdict | null)[]> {
    const sorting = byOwner(batch);
    const { sorted } = sorting;
    const waves = wavesOf(sorting);
    const entries = sorted.flatMap((request) => request.entries);
    let end = 1;
    const starts = entries.map(({ value }) => (end += value.length) - value.length);
    const rows = await this.run<WriteRow>(
      WRITE,
      sorting,
      sorted.map((request) => request.entries.length),
      [
        sorted.map((request) => ON_CONFLICT.indexOf(request.onConflict)),
        sorted.map((request) => request.atomic),
        waves,
        arrayOf(placesOf(sorting, (request) => request.entries.length)),
        entries.map((entry) => entry.key),
        arrayOf(starts),
        arrayOf(entries.map((entry) => entry.value.length)),
        arrayOf(entries.map((entry) => entry.ttlSeconds)),
        arrayOf(entries.map((entry) => entry.ifVersion)),
        Buffer.concat(entries.map((entry) => entry.value)),
      ],
      tx,
    );
    for (const { verdicts } of rows) {
      const denied = verdicts.split('q').length - 1;
      tally.count('store', verdicts.split(/[nw]/).length - 1, denied);
    }
    return inBatchOrder(sorting, toVerdicts(sorting, waves, rows));
  }

  private async deleteAll(batch: readonly DeleteRequest[]): Promise<Deletion[][]> {
    const sorting = byOwner(batch);
    const { sorted } = sorting;
    const rows = await this.run<{ owner: number; place: number; verdicts: string }>(
      DELETE,
      sorting,
      sorted.map((request) => request.keys.length),
      [
        arrayOf(placesOf(sorting, (request) => request.keys.length)),
        sorted.flatMap((request) => request.keys),
        arrayOf(sorted.flatMap((request) => request.keys.map(() => request.ifVersion))),
      ],
    );
    const deletions = Array<Deletion[]>(batch.length).fill([]);
    for (const { owner, place, verdicts } of rows) {
      deletions[(sorting.ends[owner - 2] ?? 0) + place - 1] = [...verdicts] as Deletion[];
    }
    return inBatchOrder(sorting, deletions);
  }

  /** @param sizes the number of entries of each sorted request */
  private run<Row extends QueryResultRow>(
    { one, several }: PerOwner,
    { owners, ends }: ByOwner<unknown>,
    sizes: readonly number[],
    values: readonly unknown[],
    tx?: Transaction,
  ): Promise<Row[]> {
    if (owners.length === 1) return this.database.query<Row>(one, [owners[0], ...values], tx);
    const sums = sizes.map(
      (
        (sum) => (size: number) =>
          (sum += size)
      )(0),
    );
    const entryEnds = ends.map((end) => sums[end - 1] ?? 0);
    return this.database.query<Row>(several, [owners, ends, entryEnds, ...values], tx);
  }
}

/** Returns, for each entry, the place of its request among those of its owner. */
function placesOf<Q>({ sorted, ends }: ByOwner<Q>, sizeOf: (request: Q) => number): number[] {
  let first = 0;
  return ends.flatMap((end) => {
    const requests = sorted.slice(first, end);
    first = end;
    return requests.flatMap((request, i) => Array<number>(sizeOf(request)).fill(i + 1));
  });
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
function wavesOf({ sorted, owners }: ByOwner<WriteRequest>): number[] {
  if (owners.length === sorted.length) return sorted.map(() => 1);
  const latest = new Map<string, number>();
  return sorted.map(({ ownerId, entries }) => {
    const names = entries.map(({ key }) => ownerId + key);
    const wave = 1 + Math.max(...names.map((name) => latest.get(name) ?? 0));
    for (const name of names) latest.set(name, wave);
    return wave;
  });
}

/** Splits the verdicts by sorted request. A wave's row holds the verdicts of the owner's requests in order. */
function toVerdicts(
  { sorted, ends }: ByOwner<WriteRequest>,
  waves: readonly number[],
  rows: readonly WriteRow[],
): (WriteVerdict | null)[] {
  let first = 0;
  return ends.flatMap((end, n) => {
    const ofOwner = rows.filter(({ owner }) => owner === n + 1);
    const byWave = new Map(ofOwner.map((row) => [row.wave, { ...row, next: 0 }]));
    const denials = ofOwner.at(-1);
    const start = first;
    first = end;
    return sorted.slice(start, end).map(({ entries }, i) => {
      const row = byWave.get(waves[start + i] ?? 0);
      // The owner does not exist.
      if (!row) return null;
      const from = row.next;
      row.next += entries.length;
      return {
        verdicts: [...row.verdicts.slice(from, row.next)] as Verdict[],
        versions: row.versions.slice(from, row.next),
        denial: denials ? denialOf(denials, i + 1) : null,
      };
    });
  });
}

function denialOf(row: WriteRow, request: number): WriteVerdict['denial'] {
  const place = row.denials.indexOf(request);
  if (place === -1) return null;
  return {
    entryLimits: row.entryLimits[place] ?? '',
    byteLimits: row.byteLimits[place] ?? '',
    entryCost: row.entryCosts[place] ?? 0,
    byteCost: row.byteCosts[place] ?? 0,
  };
}
