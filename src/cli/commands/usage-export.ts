import { Readable } from 'node:stream';
import { ConnectionError } from '../../../sdk/src/index.js';
import { clientFrom, type ApiOptions } from '../api.js';
import type { Io, Outcome } from '../command.js';
import { exportTo } from '../files.js';

interface Options extends ApiOptions {
  format: 'csv' | 'ndjson';
  from?: string;
  to?: string;
}

/** `quartermaster usage export`. */
export async function run(io: Io, file: string | undefined, { url, ...range }: Options): Promise<Outcome> {
  const query = { ...range, format: range.format === 'csv' ? 'csv' : 'json' } as const;
  const client = clientFrom(io, url === undefined ? {} : { url });
  if (!client) {
    return (await import('../direct/usage.js')).exportUsage(io, query, (lines) => exportTo(io, file, lines));
  }
  const lines = await client.get('/v1/metrics/usage', { params: { query }, parseAs: 'stream' });
  return exportTo(io, file, Readable.from(whole(lines), { objectMode: false }));
}

/** @throws ConnectionError if the connection is lost before the end */
async function* whole(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  try {
    yield* body ?? [];
  } catch (cause) {
    throw new ConnectionError('The connection to the server was lost', { cause });
  }
}
