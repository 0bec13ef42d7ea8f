import { applyEdits, format } from 'jsonc-parser';
import { answer, tagged } from '../../api/answer';
import { api } from '../../api/client';
import { ApiProblem } from '../../api/problem';
import { storeEntries, writeBody, type StoreText } from '../../api/store-text';
import type { PageRequest } from '../../api/use-pages';

/** Between the parts of keys, by convention. */
export const DELIMITER = '/';

const LARGEST = '\u{10ffff}';

/** The largest number of entries of one request. */
export const MAX_BATCH = 1_000;

interface ListRequest {
  prefix: string;
  cursor?: string | undefined;
  /** At most 100. */
  limit: number;
  signal: AbortSignal;
}

/** Reads a page of entries with their values, as text. */
export async function listEntries({ prefix, cursor, limit, signal }: ListRequest) {
  const query = { prefix, cursor, values: true, limit };
  const text = await answer(api.GET('/v1/store', { params: { query }, parseAs: 'text', signal }));
  const { nextCursor } = JSON.parse(text) as { nextCursor: string | null };
  return { data: storeEntries(text, 'data'), nextCursor };
}

/** Requests for one page of prefixes. */
const MAX_REQUESTS = 30;

/** Lists the prefixes one level below another, in pages: one request for each, since all keys of a prefix are skipped. */
export async function listFolders(prefix: string, { cursor, signal }: PageRequest) {
  const folders: string[] = [];
  let after = cursor;
  for (let requests = 0; requests < MAX_REQUESTS; requests++) {
    const query = { prefix, after, limit: 100 };
    const { data, nextCursor } = await answer(api.GET('/v1/store', { params: { query }, signal }));
    for (const { key } of data) {
      const folder = folderOf(key, prefix);
      if (folder !== undefined && folder !== folders.at(-1)) folders.push(folder);
    }
    const last = data.at(-1)?.key;
    if (nextCursor === null || last === undefined) return { data: folders, nextCursor: null };
    const folder = folderOf(last, prefix);
    after = folder === undefined ? last : `${folder}${LARGEST}`;
  }
  return { data: folders, nextCursor: after ?? null };
}

function folderOf(key: string, prefix: string): string | undefined {
  const end = key.indexOf(DELIMITER, prefix.length);
  return end === -1 ? undefined : key.slice(0, end + 1);
}

/** A stored value as text, and its version for `If-Match`. */
export interface StoredValue {
  text: string;
  etag: string | undefined;
}

/** Reads a value as text; null if there is none. */
export async function readValue(key: string): Promise<StoredValue | null> {
  try {
    const { value, etag } = await tagged(api.GET('/v1/store/{key}', { params: { path: { key } }, parseAs: 'text' }));
    return { text: value, etag };
  } catch (error) {
    if (error instanceof ApiProblem && error.status === 404) return null;
    throw error;
  }
}

/** Adds line breaks and indentation, which the server does not store, and changes nothing else. */
export function indented(text: string): string {
  return applyEdits(text, format(text, undefined, { insertSpaces: true, tabSize: 2 }));
}

/** The stored value is not the one that the change started from. */
export class Conflict extends Error {
  override readonly name = 'Conflict';

  /** @param stored null if the entry does not exist */
  constructor(readonly stored: StoredValue | null) {
    super('The stored value has changed.');
  }
}

/**
 * Writes a value.
 * @param etag of the value that it replaces; undefined if there must be none
 * @throws Conflict if another value is stored
 */
export async function writeValue(key: string, text: string, ttl: number | undefined, etag: string | undefined) {
  const header = etag === undefined ? { 'If-None-Match': '*' } : { 'If-Match': etag };
  try {
    await answer(
      api.PUT('/v1/store/{key}', {
        params: { path: { key }, query: { ttl }, header },
        body: text as never,
        bodySerializer: String,
      }),
    );
  } catch (error) {
    if (!(error instanceof ApiProblem && error.status === 412)) throw error;
    throw new Conflict(await readValue(key));
  }
}

export async function deleteEntries(keys: string[]): Promise<void> {
  for (let start = 0; start < keys.length; start += MAX_BATCH) {
    await answer(api.POST('/v1/store/delete', { body: { keys: keys.slice(start, start + MAX_BATCH) } }));
  }
}

export type OnConflict = 'skip' | 'replace' | 'fail';

export function writeEntries(entries: Parameters<typeof writeBody>[0], onConflict: OnConflict, signal: AbortSignal) {
  const body = writeBody(entries, { onConflict });
  return answer(api.POST('/v1/store/write', { body: body as never, bodySerializer: String, signal }));
}

/** Seconds until an entry expires, at least 1; undefined if it does not. */
export function secondsLeft({ expiresAt }: Pick<StoreText, 'expiresAt'>): number | undefined {
  return expiresAt === null ? undefined : Math.max(1, Math.round((Date.parse(expiresAt) - Date.now()) / 1_000));
}
