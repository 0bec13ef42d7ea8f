import { Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller/caller.js';
import { Cursors } from '../common/page.js';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { UsersService } from '../users/users.service.js';
import { holds, versionFor, type Preconditions } from './preconditions.js';
import type { ReadBody, WriteBody } from './store-body.js';
import type { DeleteResponse, ListStoreQuery, PutResponse, StoreItem, WriteResponse } from './store.dto.js';
import {
  AFTER_ALL_KEYS,
  StoreRepository,
  type Deletion,
  type Found,
  type ListedEntry,
  type WriteRequest,
  type WriteVerdict,
} from './store.repository.js';
import { MAX_ANSWER_BYTES } from './store.statements.js';
import { refusalOf, toResult } from './store-results.js';

/** A page of entries. Values are JSON text. */
export interface StoreListing {
  data: (Omit<StoreItem, 'value'> & { text: string | null })[];
  nextCursor: string | null;
}

/** Attempts of a conditional write that one statement cannot judge, while others write the same entry. */
const ATTEMPTS = 10;

/** JSON values under keys. Each owner has a separate store. */
@Injectable()
export class StoreService {
  constructor(
    private readonly users: UsersService,
    private readonly store: StoreRepository,
    private readonly cursors: Cursors,
  ) {}

  /** Returns the id of the owner whose store is requested. @throws Problem forbidden, not_found */
  async ownerOf(owner: string | undefined, caller: Caller, tx?: Transaction): Promise<string> {
    return owner === undefined ? caller.userId : this.users.idOf(owner, caller, tx);
  }

  find(ownerId: string, key: string): Promise<Found | null> {
    return this.store.find(ownerId, key);
  }

  /**
   * @returns JSON text, a `ReadResponse`
   * @throws Problem keys_not_found with the missing keys; body_too_large if the values exceed one response
   */
  async read(ownerId: string, { keys, onMissing }: Pick<ReadBody, 'keys' | 'onMissing'>): Promise<string> {
    const { entries, missing, bytes } = await this.store.findAll(ownerId, keys);
    if (missing.length > 0 && onMissing === 'fail') {
      throw new Problem('keys_not_found', {
        detail: `${missing.length} of ${keys.length} keys do not exist.`,
        members: { missing },
      });
    }
    if (!entries) {
      throw new Problem('body_too_large', {
        detail: `The values have ${bytes} bytes in total; a response holds at most ${MAX_ANSWER_BYTES}. Read fewer keys.`,
      });
    }
    return `{"entries":[${entries.join(',')}],"missing":${JSON.stringify(missing)}}`;
  }

  /**
   * Writes a batch: each entry independently, or all or none if it is atomic.
   * @throws Problem version_mismatch, quota_exceeded if nothing was written; both contain the result of each entry
   */
  async write(ownerId: string, body: WriteBody, tx?: Transaction): Promise<WriteResponse> {
    const verdict = await this.writeAll({ ...body, ownerId }, tx);
    const results = body.entries.map(({ key }, i) => toResult(key, verdict, i));
    const written = results.filter(({ status }) => status === 'written').length;
    const skipped = results.filter(({ status }) => status === 'skipped');
    const warnings = skipped.map(({ key }) => `${JSON.stringify(key)} already exists and was not changed.`);
    const answer = { written, skipped: skipped.length, results, warnings };
    if (written === 0 && skipped.length === 0) throw refusalOf(verdict, answer);
    return answer;
  }

  /** Writes one value. @throws Problem version_mismatch, overloaded, quota_exceeded, not_found for a deleted owner */
  async put(
    ownerId: string,
    key: string,
    value: Buffer,
    ttlSeconds: number | null,
    conditions: Preconditions,
  ): Promise<PutResponse & { isNew: boolean }> {
    const { version, isNew } = await this.conditionally(ownerId, key, conditions, async (ifVersion) => {
      const entries = [{ key, value, ttlSeconds, ifVersion }];
      const verdict = await this.writeAll({ ownerId, entries, onConflict: 'replace', atomic: false });
      const [letter] = verdict.verdicts;
      if (letter === 'm') return null;
      if (letter === 'q') throw refusalOf(verdict);
      return { version: verdict.versions[0] ?? 0, isNew: letter === 'n' };
    });
    return { key, version, isNew };
  }

  /** @throws Problem not_found, version_mismatch */
  async delete(ownerId: string, key: string, conditions: Preconditions): Promise<void> {
    const attempt = async (ifVersion: number | null): Promise<Deletion | null> => {
      const [letter = 'n'] = await this.store.delete({ ownerId, keys: [key], ifVersion });
      return letter === 'm' ? null : letter;
    };
    // A missing entry is 404, whatever the conditions are.
    const deletion = await this.conditionally(ownerId, key, conditions, attempt, 'n');
    if (deletion === 'n') throw new Problem('not_found');
  }

  async deleteAll(ownerId: string, keys: string[]): Promise<DeleteResponse> {
    const deletions = await this.store.delete({ ownerId, keys, ifVersion: null });
    const missing = keys.filter((_key, i) => deletions[i] !== 'd');
    return { deleted: keys.length - missing.length, missing };
  }

  /**
   * Lists keys in order, for all owners owner by owner.
   * @throws Problem validation_failed for a cursor of another list
   */
  async list(query: ListStoreQuery, caller: Caller): Promise<StoreListing> {
    const ownerId = await this.users.ownerOf(query.owner, caller);
    const { prefix = '', after } = query;
    const list = `store?owner=${ownerId ?? '*'}&prefix=${prefix}&after=${after ?? ''}`;
    const first = laterOf(prefix, after === undefined ? '' : nextKey(after));
    // The owner, a space, and the key.
    const last = query.cursor === undefined ? undefined : this.cursors.open(list, query.cursor);
    const range = {
      from: last === undefined ? first : nextKey(last.slice(last.indexOf(' ') + 1)),
      before: endOfPrefix(prefix),
      limit: query.limit + 1,
      withValues: query.values ?? false,
    };
    const rows =
      ownerId === null
        ? await this.store.listAll(last?.slice(0, last.indexOf(' ')) ?? FIRST_OWNER, first, range)
        : await this.store.listOwned(ownerId, range);
    const page = this.cursors.page(list, rows, query.limit, ({ ownerId: id, key }) => `${id} ${key}`);
    return { data: page.data.map(toItem), nextCursor: page.nextCursor };
  }

  private async writeAll(request: WriteRequest, tx?: Transaction): Promise<WriteVerdict> {
    const verdict = await this.store.write(request, tx);
    if (!verdict) throw new Problem('not_found');
    return verdict;
  }

  /**
   * Runs `attempt` only if the conditions hold. Conditions that the statement cannot judge are judged before it,
   * against the version read; the statement then requires that version.
   * @param attempt returns null if the stored version differs
   * @param ifNone the result if the entry does not exist, whatever the conditions are
   */
  private async conditionally<T>(
    ownerId: string,
    key: string,
    conditions: Preconditions,
    attempt: (ifVersion: number | null) => Promise<T | null>,
    ifNone?: T,
  ): Promise<T> {
    const ifVersion = versionFor(conditions);
    for (let count = 0; count < (ifVersion === undefined ? ATTEMPTS : 1); count++) {
      let wanted = ifVersion ?? null;
      if (ifVersion === undefined) {
        wanted = (await this.store.find(ownerId, key))?.version ?? 0;
        if (wanted === 0 && ifNone !== undefined) return ifNone;
        if (!holds(conditions, wanted)) throw new Problem('version_mismatch');
      }
      const done = await attempt(wanted);
      if (done !== null) return done;
    }
    // The conditions held, but a concurrent writer won every attempt.
    throw ifVersion === undefined ? new Problem('overloaded', { retryAfter: 1 }) : new Problem('version_mismatch');
  }
}

/** Sorts before every id. */
const FIRST_OWNER = '00000000-0000-0000-0000-000000000000';

const HIGHEST = 0x10ffff;

/** The first text after all texts with this prefix, in code point order, which is the order of UTF-8 bytes. */
function endOfPrefix(prefix: string): string {
  const points = Array.from(prefix, (each) => each.codePointAt(0) ?? 0);
  while (points.at(-1) === HIGHEST) points.pop();
  const last = points.pop();
  if (last === undefined) return AFTER_ALL_KEYS;
  // Skips the surrogates, which are not characters.
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}

function toItem({ ownerId, key, version, expiresAt, value }: ListedEntry): StoreListing['data'][number] {
  return { key, version, expiresAt: expiresAt?.toISOString() ?? null, owner: ownerId, text: value };
}

/** Returns the next possible key: keys cannot contain U+0000. */
function nextKey(key: string): string {
  return `${key}\u0001`;
}

/** Returns the later of two texts in the order of keys, that of their bytes. */
function laterOf(one: string, other: string): string {
  return Buffer.compare(Buffer.from(one), Buffer.from(other)) > 0 ? one : other;
}
