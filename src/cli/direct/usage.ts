import type { Readable } from 'node:stream';
import { UsageQuery } from '../../metrics/metrics.dto.js';
import { UsageExport } from '../../metrics/usage-export.js';
import { checked } from '../checked.js';
import type { Io } from '../command.js';
import { withPlatform } from './platform.js';

/** @param write writes the lines, while the database is open */
export function exportUsage<T>(io: Io, query: object, write: (lines: Readable) => Promise<T>): Promise<T> {
  return withPlatform(io, async (app, env) => {
    const { text } = await app.get(UsageExport).open(await checked(env, UsageQuery, query));
    try {
      return await write(text);
    } finally {
      // Otherwise it keeps its connection if nobody has read it.
      text.destroy();
    }
  });
}
