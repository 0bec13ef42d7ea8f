import { Problem } from '../../common/problem.js';
import type { EntryResult } from '../../store/store.dto.js';
import { StoreRepository, type StoredEntry } from '../../store/store.repository.js';
import { StoreService } from '../../store/store.service.js';
import type { Io } from '../command.js';
import type { StoreTarget } from '../import/store-import-run.js';
import { idOfOwner } from './owner.js';
import { withPlatform } from './platform.js';

/** Bounds the memory: a value has up to 256 KiB. */
const ENTRIES_AT_ONCE = 100;

/** @param write writes the entries of one owner, while the database is open */
export function exportStore<T>(
  io: Io,
  owner: string,
  write: (entries: AsyncIterable<StoredEntry[]>) => Promise<T>,
): Promise<T> {
  return withPlatform(io, async (app) =>
    write(app.get(StoreRepository).stream(await idOfOwner(app, owner), ENTRIES_AT_ONCE)),
  );
}

/** @param work imports into the store of one owner, while the database is open */
export function withStore<T>(io: Io, owner: string, work: (target: StoreTarget) => Promise<T>): Promise<T> {
  return withPlatform(io, async (app) => {
    const ownerId = await idOfOwner(app, owner);
    const store = app.get(StoreService);
    return work({
      write: async ({ body }) => {
        try {
          return (await store.write(ownerId, body)).results;
        } catch (error) {
          return resultsOf(error);
        }
      },
    });
  });
}

/** Returns the result of each entry where nothing was written. */
function resultsOf(error: unknown): EntryResult[] {
  const results = error instanceof Problem ? (error.extra.members?.results as EntryResult[] | undefined) : undefined;
  if (!results) throw error;
  return results;
}
