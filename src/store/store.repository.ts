import { Injectable } from '@nestjs/common';
import { tally } from '../common/tally.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Database, type Statement, type Transaction } from '../database/database.js';
import { MAX_VALUE_BYTES, ON_CONFLICT, type NewEntry, type OnConflict } from './store-body.js';

/** Values of one answer, if all are as large as they may be. */
const FULL_VALUES = 128;

/** Bytes of values that one answer carries at most. */
export const MAX_ANSWER_BYTES = FULL_VALUES * MAX_VALUE_BYTES;

/** Above every key: one character more than fit, of the highest code point. */
export const AFTER_ALL_KEYS = '\u{10ffff}'.repeat(129);

/** Whose entries, under which keys. */
interface Keys {
  ownerId: string;
  keys: string[];
}

interface EntryKey {
  ownerId: string;
  key: string;
}

export interface Found {
  /** JSON. */
  value: string;
  version: number;
}

export interface FoundAll {
  /** JSON objects with key, value, version and expiresAt, in the order of the request; null: too large together. */
  entries: string[] | null;
  missing: string[];
  /** Of all values together, where there may be too many. */
  bytes: number;
}

export interface WriteRequest {
  ownerId: string;
  onConflict: OnConflict;
  atomic: boolean;
  entries: NewEntry[];
}

/**
 * What became of an entry: n(ew), w(ritten over another), s(kipped: there was one), m(ismatch of versions), q(uota:
 * refused), a(borted, with others of its request).
 */
export type Verdict = 'n' | 'w' | 's' | 'm' | 'q' | 'a';

export interface WriteVerdict {
  verdicts: Verdict[];
  /** As they are now, by entry; null where there is none. */
  versions: (number | null)[];
  /** The first refusal by the quota: the limits that were judged, and what was asked of them. */
  denial: { entryLimits: string; byteLimits: string; entryCost: number; byteCost: number } | null;
}

/** Of a wave of requests (see write_entries). */
interface WriteRow {
  wave: number;
  verdicts: string;
  versions: (number | null)[];
  /** The requests that the quota refused, by their places, and what is said of each. */
  denials: number[];
  entryLimits: string[];
  byteLimits: string[];
  entryCosts: number[];
  byteCosts: number[];
}

export interface DeleteRequest extends Keys {
  /** As in NewEntry, for all keys. */
  ifVersion: number | null;
}

/** What became of a key: d(eleted), n(one was there), m(ismatch of versions). */
export type Deletion = 'd' | 'n' | 'm';

export interface ListedEntry {
  ownerId: string;
  key: string;
  version: number;
  expiresAt: Date | null;
  /** JSON; null where it is not asked for. */
  value: string | null;
}

/** Where a page begins and ends. */
export interface Range {
  /** The first key, and the key before which it ends. */
  from: string;
  before: string;
  limit: number;
  withValues: boolean;
}

const LIVE = '(s.expires_at IS NULL OR s.expires_at > now())';

const FIND = {
  name: 'store-find',
  text: `
    SELECT q.place::integer AS place, s.value, s.version
    FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS q (owner_id, key, place)
    JOIN store_entries s ON s.owner_id = q.owner_id AND s.key = q.key AND ${LIVE}`,
};

/**
 * One row a request, its entries in one text: of each the key, the value, the version, and when it expires (ms since 1970).
 * Fields are lines: values have no line breaks, having lost their blanks, and keys are escaped (see toLine).
 * Rows would cost twice as much to read here; and an index is gone through for many keys in one go.
 */
const findAll = (isBounded: boolean): Statement => ({
  name: isBounded ? 'store-find-all-bounded' : 'store-find-all',
  text: `
    SELECT q.place::integer AS place, e.fields, e.bytes
    FROM unnest($1::uuid[], $2::integer[], $3::integer[]) WITH ORDINALITY AS q (owner_id, first, last, place)
    CROSS JOIN LATERAL (
      SELECT string_agg(concat_ws(E'\\n',
          replace(replace(s.key, '\\', '\\\\'), E'\\n', '\\n'),
          s.value, s.version, coalesce((extract(epoch FROM s.expires_at) * 1000)::bigint::text, '')
        ), E'\\n')${isBounded ? ` FILTER (WHERE s.total <= ${MAX_ANSWER_BYTES})` : ''} AS fields,
        ${isBounded ? 'max(s.total)' : '0'} AS bytes
      FROM (
        SELECT s.*${isBounded ? ', sum(octet_length(s.value)) OVER () AS total' : ''} FROM store_entries s
        WHERE s.owner_id = q.owner_id AND s.key = ANY(($4::text[])[q.first:q.last]) AND ${LIVE}
      ) s
    ) e`,
});

const FIND_ALL = { bounded: findAll(true), unbounded: findAll(false) };

const WRITE = {
  name: 'store-write',
  text: `
    SELECT wave, verdicts, versions, denials, entry_limits AS "entryLimits", byte_limits AS "byteLimits",
      entry_costs AS "entryCosts", byte_costs AS "byteCosts"
    FROM write_entries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
};

const DELETE = {
  name: 'store-delete',
  text: 'SELECT place, verdicts FROM delete_entries($1, $2, $3, $4)',
};

const SWEEP = { name: 'store-sweep', text: 'SELECT sweep_entries($1) AS count' };

const LISTED = `s.owner_id AS "ownerId", s.key, s.version, s.expires_at AS "expiresAt", CASE WHEN $5 THEN s.value END AS value`;

const LIST_OWNED = {
  name: 'store-list-owned',
  text: `
    SELECT ${LISTED} FROM store_entries s
    WHERE s.owner_id = $1 AND s.key >= $2 AND s.key < $3 AND ${LIVE} ORDER BY s.key LIMIT $4`,
};

/** Owner by owner: $1 is the one to go on with, $6 the first key of those behind it. */
const LIST_ALL = {
  name: 'store-list-all',
  text: `
    SELECT ${LISTED} FROM (SELECT id FROM users WHERE id >= $1 ORDER BY id) u
    CROSS JOIN LATERAL (
      SELECT s.* FROM store_entries s
      WHERE s.owner_id = u.id AND s.key >= CASE WHEN u.id = $1 THEN $2 ELSE $6 END AND s.key < $3 AND ${LIVE}
      ORDER BY s.key LIMIT $4
    ) s
    ORDER BY u.id, s.key LIMIT $4`,
};

/** A statement carries some two thousand small entries, or 1 MiB of large ones; 64 times as much may wait. */
const MAX_WRITTEN = 2_048;
const BYTES_A_UNIT = 512;

/** Keys of one statement: as many values of full size are 128 MiB. */
const MAX_READ = 512;

const MAX_WAITING = 131_072;

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

  /** All of them as of one moment. */
  findAll(ownerId: string, keys: string[]): Promise<FoundAll> {
    return this.foundAll.add({ ownerId, keys });
  }

  /**
   * Writes entries and charges the gauges of their owner, in one transaction.
   * @param tx a transaction of the caller's; without one, together with whoever else writes now
   * @returns null when there is no such owner
   */
  async write(request: WriteRequest, tx?: Transaction): Promise<WriteVerdict | null> {
    if (!tx) return this.written.add(request);
    const [verdict] = await this.writeAll([request], tx);
    return verdict ?? null;
  }

  /** Deletes entries and gives back what they were charged. @returns by key, what became of it */
  delete(request: DeleteRequest): Promise<Deletion[]> {
    return this.deleted.add(request);
  }

  listOwned(ownerId: string, { from, before, limit, withValues }: Range): Promise<ListedEntry[]> {
    return this.database.query<ListedEntry>(LIST_OWNED, [ownerId, from, before, limit, withValues]);
  }

  /** Of all owners, by their ids. @param prefix what the keys of the owners behind the first begin with */
  listAll(firstOwner: string, prefix: string, { from, before, limit, withValues }: Range): Promise<ListedEntry[]> {
    return this.database.query<ListedEntry>(LIST_ALL, [firstOwner, from, before, limit, withValues, prefix]);
  }

  /** Deletes what has expired, so many entries at most. @returns how many; 0 also while another node does it */
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
    const rows = await (tx ? tx.query<WriteRow>(WRITE.text, values) : this.database.query<WriteRow>(WRITE, values));
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

/** A key without line breaks. */
function toLine(key: string): string {
  return key.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** Puts what was found into the order of the request. @param fields see FIND_ALL */
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

/** Requests that write the same key of an owner come one after the other. */
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

/** The verdicts of each request: those of a wave's requests stand one after the other. */
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
