import { Injectable } from '@nestjs/common';
import { isId, loginKey } from '../common/names.js';
import { Database, type Transaction } from '../database/database.js';
import type { AuditEntry } from './audit-entry.entity.js';

export type AuditRow = Omit<AuditEntry, 'position' | 'mac'>;

/** An entry as the seal covers it: texts, as PostgreSQL writes them. */
export interface SealableEntry {
  id: string;
  at: string;
  actorId: string | null;
  action: string;
  target: string;
  changes: string;
  requestId: string | null;
  ip: string | null;
  mac: Buffer;
  /** The position that the entry claims. A bigint, as text. */
  position: string | null;
}

/** The state of the chain, read in one query. */
export interface Glance {
  /** Age of the oldest unsealed entry in seconds; null if there is none. */
  waiting: number | null;
  /** Position of the last link; null if there is none. */
  position: string | null;
  /** Hash of the requested link; null if the link is missing. */
  asked: Buffer | null;
}

/** A link of the chain. Its position is a bigint, as text. */
export interface Seal {
  position: string;
  entryId: string;
  hash: Buffer;
}

/** A link, and the entry that it seals; null if the entry is missing. */
export type SealedEntry = Seal & { entry: SealableEntry | null };

/** The last link, and the hash of the previous one; null if that is missing or there never was one. */
export type LastLink = SealedEntry & { previous: Buffer | null };

export interface AuditFilter {
  actorId: string | null;
  /** An action, or a prefix that ends in `*`. */
  action: string | null;
  targets: readonly string[] | null;
}

type LinkRow = Omit<Seal, 'position'> & SealableEntry & { place: string; isThere: boolean };

/** Key of the advisory lock on the chain. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6175;

const INSERT = `
  INSERT INTO audit_entries (id, at, actor_id, action, target, changes, request_id, ip, mac)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`;

const COLUMNS = `id, at, actor_id AS "actorId", action, target, changes, request_id AS "requestId", ip`;

// Includes the era: otherwise a time BC would have the same text as the time AD.
const SEALABLE = `e.id::text,
  to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || CASE WHEN e.at < '0001-01-01 00:00Z' THEN ' BC' ELSE '' END AS at,
  e.actor_id::text AS "actorId",
  e.action, e.target, e.changes::text AS changes, e.request_id AS "requestId", e.ip, e.mac, e.position::text`;

// Ids are in order of creation.
const GLANCE = {
  name: 'audit-glance',
  text: `
    SELECT (SELECT extract(epoch FROM clock_timestamp() - e.at)::float8 FROM audit_entries e
        WHERE e.position IS NULL ORDER BY e.id LIMIT 1) AS waiting,
      (SELECT max(s.position)::text FROM audit_seals s) AS position,
      (SELECT s.hash FROM audit_seals s WHERE s.position = $1) AS asked`,
};

const COUNT_UNSEALED = {
  name: 'audit-count-unsealed',
  text: 'SELECT count(*)::integer AS count FROM audit_entries WHERE position IS NULL',
};

const COUNT_SEALS = { name: 'audit-count-seals', text: 'SELECT count(*)::text AS count FROM audit_seals' };

const LINK = `s.position::text AS place, s.entry_id AS "entryId", s.hash, to_jsonb(e) IS NOT NULL AS "isThere", ${SEALABLE}`;

// Sorts by the column, not by its text in the result: as text, '9' comes after '10'.
const LAST_LINK = {
  name: 'audit-last-link',
  text: `
    SELECT ${LINK}, (SELECT p.hash FROM audit_seals p WHERE p.position = s.position - 1) AS previous
    FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.position DESC LIMIT 1`,
};

const USER_BY_LOGIN = {
  name: 'audit-user-by-login',
  text: 'SELECT id FROM users WHERE username_key = $1 OR email_key = $1',
};

const HAS_HASH = { name: 'audit-has-hash', text: 'SELECT FROM audit_seals WHERE hash = $1' };

/** Entries that no link seals at the position they claim. */
const LOOSE = `
  SELECT ${SEALABLE} FROM audit_entries e
  WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.position = e.position AND s.entry_id = e.id)
  ORDER BY e.position, e.id`;

const AT_POSITION = { name: 'audit-at-position', text: 'SELECT id FROM audit_entries WHERE position = $1 LIMIT 1' };

@Injectable()
export class AuditRepository {
  constructor(private readonly database: Database) {}

  /** @returns whether the row was inserted: a rule or trigger of the database can silently suppress it */
  async insert(tx: Transaction, entry: Omit<SealableEntry, 'position'>): Promise<boolean> {
    const { id, at, actorId, action, target, changes, requestId, ip, mac } = entry;
    return (await tx.query(INSERT, [id, at, actorId, action, target, changes, requestId, ip, mac])).length === 1;
  }

  /** Lists entries, newest first. @param before id of the last entry of the previous page */
  list({ actorId, action, targets }: AuditFilter, before: string | null, limit: number): Promise<AuditRow[]> {
    const isPrefix = action?.endsWith('*') === true;
    const conditions: [name: string, sql: string, value: unknown][] = [
      ['before', 'id <', before],
      ['actor', 'actor_id =', actorId],
      [isPrefix ? 'actions' : 'action', isPrefix ? 'action ^@' : 'action =', isPrefix ? action.slice(0, -1) : action],
      ['targets', 'target = ANY', targets],
    ];
    const given = conditions.filter(([, , value]) => value !== null);
    const where = given.map(([, sql], i) => (sql.endsWith('ANY') ? `${sql}($${i + 2})` : `${sql} $${i + 2}`));
    return this.database.query<AuditRow>(
      {
        name: ['audit-list', ...given.map(([name]) => name)].join('-'),
        text: `SELECT ${COLUMNS} FROM audit_entries ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
          ORDER BY id DESC LIMIT $1`,
      },
      [limit, ...given.map(([, , value]) => value)],
    );
  }

  /** Returns the id of the user that a reference names; null if there is no such user (any more). */
  async userIdOf(reference: string): Promise<string | null> {
    if (isId(reference)) return reference.toLowerCase();
    const key = loginKey(reference);
    if (key === null) return null;
    return (await this.database.query<{ id: string }>(USER_BY_LOGIN, [key]))[0]?.id ?? null;
  }

  /** @param position of a link that was seen before */
  async glance(position: string): Promise<Glance> {
    const [glance] = await this.database.query<Glance>(GLANCE, [position]);
    if (!glance) throw new Error('The query of the audit chain returned no row');
    return glance;
  }

  async countUnsealed(): Promise<number> {
    return (await this.database.query<{ count: number }>(COUNT_UNSEALED, []))[0]?.count ?? 0;
  }

  /** Locks the chain for the rest of the transaction. @returns false while another process holds the lock */
  async lock(tx: Transaction): Promise<boolean> {
    const [row] = await tx.query<{ locked: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS locked', [LOCK]);
    return row?.locked ?? false;
  }

  /** Returns the last link; null if there is none. */
  async lastLink(tx?: Transaction): Promise<LastLink | null> {
    const [row] = await (tx
      ? tx.query<LinkRow & Pick<LastLink, 'previous'>>(LAST_LINK.text)
      : this.database.query<LinkRow & Pick<LastLink, 'previous'>>(LAST_LINK, []));
    return row ? { ...toLink(row), previous: row.previous } : null;
  }

  async countSeals(): Promise<bigint> {
    return BigInt((await this.database.query<{ count: string }>(COUNT_SEALS, []))[0]?.count ?? 0);
  }

  /**
   * Returns committed entries that are not in the chain. An entry that commits later is sealed later, even if its id is
   * earlier.
   */
  unsealed(tx: Transaction, most: number): Promise<SealableEntry[]> {
    return tx.query<SealableEntry>(
      `SELECT ${SEALABLE} FROM audit_entries e WHERE position IS NULL ORDER BY id LIMIT $1`,
      [most],
    );
  }

  async seal(tx: Transaction, seals: readonly Seal[]): Promise<void> {
    const values = [
      seals.map(({ position }) => position),
      seals.map(({ entryId }) => entryId),
      seals.map(({ hash }) => hash),
    ];
    await tx.query(
      'INSERT INTO audit_seals (position, entry_id, hash) SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bytea[])',
      values,
    );
    await tx.query(
      `UPDATE audit_entries e SET position = s.position FROM unnest($1::bigint[], $2::uuid[]) AS s (position, id)
       WHERE e.id = s.id`,
      values.slice(0, 2),
    );
  }

  /** Streams the whole chain from its beginning, as of one moment. */
  async *chain(linksATime: number): AsyncGenerator<SealedEntry[]> {
    const text = `SELECT ${LINK} FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.position`;
    for await (const some of this.database.stream<LinkRow>(text, [], linksATime)) yield some.map(toLink);
  }

  /**
   * Streams the entries that no link seals at the position they claim, those with a position first. Reads the whole
   * log.
   */
  loose(entriesATime: number): AsyncGenerator<SealableEntry[]> {
    return this.database.stream<SealableEntry>(LOOSE, [], entriesATime);
  }

  async findAt(position: string): Promise<string | null> {
    return (await this.database.query<{ id: string }>(AT_POSITION, [position]))[0]?.id ?? null;
  }

  /** Returns whether a hash is, or once was, the head of the chain. */
  async hasHash(hash: Buffer): Promise<boolean> {
    return (await this.database.query(HAS_HASH, [hash])).length > 0;
  }
}

function toLink({ place, entryId, hash, isThere, ...entry }: LinkRow): SealedEntry {
  const { id, at, actorId, action, target, changes, requestId, ip, mac, position } = entry;
  const sealed = { id, at, actorId, action, target, changes, requestId, ip, mac, position };
  return { position: place, entryId, hash, entry: isThere ? sealed : null };
}
