import { isRefusal, type Quartermaster } from '../../../sdk/src/index.js';
import { CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, JsonText, OPEN_BRACE, OPEN_BRACKET } from '../../store/json-text.js';
import { MAX_VALUE_DEPTH } from '../../store/store-body.js';
import type { EntryResult } from '../../store/store.dto.js';
import type { StoredEntry } from '../../store/store.repository.js';
import type { StoreTarget } from '../import/store-import-run.js';

/** Bounds the memory: a value has up to 256 KiB. */
const PAGE = 100;

/** Lists the entries of one owner page by page, in the order of their keys. */
export async function* listEntries(client: Quartermaster, owner: string): AsyncGenerator<StoredEntry[]> {
  let cursor: string | null = null;
  do {
    const query = { owner, values: true, limit: PAGE, ...(cursor === null ? {} : { cursor }) };
    const page: Page = readPage(await client.get('/v1/store', { params: { query }, parseAs: 'text' }));
    yield page.entries;
    cursor = page.nextCursor;
  } while (cursor !== null);
}

/** Imports over the API. @throws QuartermasterError if the owner does not exist */
export async function storeOf(client: Quartermaster, owner: string): Promise<StoreTarget> {
  await client.get('/v1/users/{user}', { params: { path: { user: owner } } });
  return {
    write: async ({ text }) => {
      const body = `{${text},"owner":${JSON.stringify(owner)}}`;
      try {
        const { results } = await client.post('/v1/store/write', {
          headers: { 'content-type': 'application/json' },
          body: body as never,
          // Values keep their text.
          bodySerializer: (each: unknown) => each as string,
        });
        return results;
      } catch (error) {
        return resultsOf(error);
      }
    },
  };
}

/** Returns the result of each entry where nothing was written. */
function resultsOf(error: unknown): EntryResult[] {
  const results = isRefusal(error, 'quota_exceeded', 'version_mismatch') ? error.problem.results : undefined;
  if (!results) throw error;
  return results;
}

interface Page {
  entries: StoredEntry[];
  nextCursor: string | null;
}

/** Reads a page without parsing values, which would round numbers. */
function readPage(text: string): Page {
  const page: Page = { entries: [], nextCursor: null };
  const json = new JsonText(Buffer.from(text));
  readObject(json, (name) => {
    if (name !== 'data') page.nextCursor = json.parseValue('') as string | null;
    else readArray(json, () => page.entries.push(readEntry(json)));
  });
  return page;
}

function readEntry(json: JsonText): StoredEntry {
  const entry: StoredEntry = { key: '', value: '', ttlSeconds: null };
  readObject(json, (name) => {
    if (name === 'key') entry.key = json.readString();
    else if (name === 'value') entry.value = json.readValue(MAX_VALUE_DEPTH, '').toString();
    else if (name === 'expiresAt') entry.ttlSeconds = secondsTo(json.parseValue('') as string | null);
    else json.readValue(MAX_VALUE_DEPTH, '');
  });
  return entry;
}

function readObject(json: JsonText, readMember: (name: string) => void): void {
  json.expect(OPEN_BRACE);
  do {
    const name = json.readString();
    json.expect(COLON);
    readMember(name);
  } while (json.take(COMMA));
  json.expect(CLOSE_BRACE);
}

function readArray(json: JsonText, readItem: () => void): void {
  json.expect(OPEN_BRACKET);
  if (json.take(CLOSE_BRACKET)) return;
  do readItem();
  while (json.take(COMMA));
  json.expect(CLOSE_BRACKET);
}

/** At least 1: the entry may expire while it is exported. */
function secondsTo(moment: string | null): number | null {
  return moment === null ? null : Math.max(1, Math.ceil((Date.parse(moment) - Date.now()) / 1_000));
}
