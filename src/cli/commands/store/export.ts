import { Readable } from 'node:stream';
import type { StoredEntry } from '../../../store/store.repository.js';
import { clientFrom, type ApiOptions } from '../../api.js';
import type { Io, Outcome } from '../../command.js';
import { exportTo } from '../../files.js';

/** `quartermaster store export`. */
export async function run(io: Io, owner: string, file: string | undefined, target: ApiOptions): Promise<Outcome> {
  const write = (entries: AsyncIterable<StoredEntry[]>) =>
    exportTo(io, file, Readable.from(linesOf(entries), { objectMode: false }));
  const client = clientFrom(io, target);
  if (!client) return (await import('../../direct/store.js')).exportStore(io, owner, write);
  return write((await import('../../over-api/store.js')).listEntries(client, owner));
}

/** Inserts values as their stored JSON text, which has no line breaks. */
async function* linesOf(batches: AsyncIterable<StoredEntry[]>): AsyncGenerator<string> {
  for await (const entries of batches) {
    yield entries
      .map(({ key, value, ttlSeconds }) => {
        const ttl = ttlSeconds === null ? '' : `,"ttlSeconds":${ttlSeconds}`;
        return `{"key":${JSON.stringify(key)},"value":${value}${ttl}}\n`;
      })
      .join('');
  }
}
