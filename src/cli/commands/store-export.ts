import { Readable } from 'node:stream';
import { StoreRepository } from '../../store/store.repository.js';
import type { Io, Outcome } from '../command.js';
import { exportTo } from '../files.js';
import { idOfOwner } from '../owner.js';
import { withPlatform } from '../platform.js';

/** Bounds the memory: a value has up to 256 KiB. */
const ENTRIES_AT_ONCE = 100;

/** `quartermaster store export`. */
export async function run(io: Io, owner: string, file: string | undefined): Promise<Outcome> {
  return withPlatform(io, async (app) => {
    const ownerId = await idOfOwner(app, owner);
    const lines = linesOf(app.get(StoreRepository), ownerId);
    return exportTo(io, file, Readable.from(lines, { objectMode: false }));
  });
}

/** Inserts values as their stored JSON text, which has no line breaks. */
async function* linesOf(store: StoreRepository, ownerId: string): AsyncGenerator<string> {
  for await (const entries of store.stream(ownerId, ENTRIES_AT_ONCE)) {
    yield entries
      .map(({ key, value, ttlSeconds }) => {
        const ttl = ttlSeconds === null ? '' : `,"ttlSeconds":${ttlSeconds}`;
        return `{"key":${JSON.stringify(key)},"value":${value}${ttl}}\n`;
      })
      .join('');
  }
}
