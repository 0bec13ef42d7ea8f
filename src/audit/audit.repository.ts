import { Injectable } from '@nestjs/common';
import { isId, loginKey } from '../common/names.js';
import { InjectRepository } from '@nestjs/typeorm';
import {
  Equal,
  In,
  IsNull,
  LessThan,
  Not,
  Raw,
  type FindOperator,
  type QueryDeepPartialEntity,
  type Repository,
} from 'typeorm';
import { Database, within, type Transaction } from '../database/database.js';
import { AuditEntry } from './audit-entry.entity.js';
import { AuditSeal } from './audit-seal.entity.js';
import {
  CHAIN,
  FIND_UNSEALED,
  GLANCE,
  INSERT_SEALS,
  LAST_LINK,
  LOOSE,
  MARK_SEALED,
  USER_BY_LOGIN,
} from './audit.statements.js';
import type { Changes } from './changes.js';

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
  /** An action, or a prefix that ends in `*`; with a `-` in front: all others. */
  action: string | null;
  targets: readonly string[] | null;
}

type LinkRow = Omit<Seal, 'position'> & SealableEntry & { place: string; isThere: boolean };

/** Key of the advisory lock on the chain. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6175;

/** Matches an action, or a prefix that ends in `*`; with a `-` in front: all others. */
function isAction(pattern: string): FindOperator<string> {
  if (pattern.startsWith('-')) return Not(isAction(pattern.slice(1)));
  if (!pattern.endsWith('*')) return Equal(pattern);
  return Raw((column) => `${column} ^@ :prefix`, { prefix: pattern.slice(0, -1) }) as FindOperator<string>;
}

@Injectable()
export class AuditRepository {
  constructor(
    @InjectRepository(AuditEntry) private readonly entries: Repository<AuditEntry>,
    @InjectRepository(AuditSeal) private readonly seals: Repository<AuditSeal>,
    private readonly database: Database,
  ) {}

  /** @returns whether all rows were inserted: a rule or trigger of the database can silently suppress them */
  async insert(tx: Transaction, entries: readonly Omit<SealableEntry, 'position'>[]): Promise<boolean> {
    // TypeORM writes the same text again, which the MAC covers.
    const rows = entries.map((entry) => ({
      ...entry,
      ...{ at: new Date(entry.at), changes: JSON.parse(entry.changes) as Changes },
    }));
    const inserted = await within(this.entries, tx)
      .createQueryBuilder()
      .insert()
      .values(rows as QueryDeepPartialEntity<AuditEntry>[])
      .returning('id')
      .updateEntity(false)
      .execute();
    return (inserted.raw as unknown[]).length === rows.length;
  }

  /** Lists entries, newest first. @param before id of the last entry of the previous page */
  list({ actorId, action, targets }: AuditFilter, before: string | null, limit: number): Promise<AuditRow[]> {
    return this.entries.find({
      where: {
        ...(before === null ? {} : { id: LessThan(before) }),
        ...(actorId === null ? {} : { actorId }),
        ...(action === null ? {} : { action: isAction(action) }),
        ...(targets === null ? {} : { target: In(targets) }),
      },
      order: { id: 'DESC' },
      take: limit,
    });
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

  countUnsealed(): Promise<number> {
    return this.entries.countBy({ position: IsNull() });
  }

  /** Locks the chain for the rest of the transaction. @returns false while another process holds the lock */
  lock(tx: Transaction): Promise<boolean> {
    return this.database.tryLock(tx, LOCK);
  }

  /** Returns the last link; null if there is none. */
  async lastLink(tx?: Transaction): Promise<LastLink | null> {
    const [row] = await this.database.query<LinkRow & Pick<LastLink, 'previous'>>(LAST_LINK, [], tx);
    return row ? { ...toLink(row), previous: row.previous } : null;
  }

  async countSeals(): Promise<bigint> {
    return BigInt(await this.seals.count());
  }

  /**
   * Returns committed entries that are not in the chain. An entry that commits later is sealed later, even if its id is
   * earlier.
   */
  unsealed(tx: Transaction, most: number): Promise<SealableEntry[]> {
    return this.database.query<SealableEntry>(FIND_UNSEALED, [most], tx);
  }

  async seal(tx: Transaction, seals: readonly Seal[]): Promise<void> {
    const values = [
      seals.map(({ position }) => position),
      seals.map(({ entryId }) => entryId),
      seals.map(({ hash }) => hash),
    ];
    await this.database.query(INSERT_SEALS, values, tx);
    await this.database.query(MARK_SEALED, values.slice(0, 2), tx);
  }

  /** Streams the whole chain from its beginning, as of one moment. */
  async *chain(linksATime: number): AsyncGenerator<SealedEntry[]> {
    for await (const some of this.database.stream<LinkRow>(CHAIN, [], linksATime)) yield some.map(toLink);
  }

  /**
   * Streams the entries that no link seals at the position they claim, those with a position first. Reads the whole
   * log.
   */
  loose(entriesATime: number): AsyncGenerator<SealableEntry[]> {
    return this.database.stream<SealableEntry>(LOOSE, [], entriesATime);
  }

  async findAt(position: string): Promise<string | null> {
    return (await this.entries.findOne({ select: { id: true }, where: { position } }))?.id ?? null;
  }

  /** Returns whether a hash is, or once was, the head of the chain. */
  hasHash(hash: Buffer): Promise<boolean> {
    return this.seals.existsBy({ hash });
  }
}

function toLink({ place, entryId, hash, isThere, ...entry }: LinkRow): SealedEntry {
  const { id, at, actorId, action, target, changes, requestId, ip, mac, position } = entry;
  const sealed = { id, at, actorId, action, target, changes, requestId, ip, mac, position };
  return { position: place, entryId, hash, entry: isThere ? sealed : null };
}
