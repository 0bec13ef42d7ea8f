import { Readable } from 'node:stream';
import { apiFrom, type ApiOptions } from '../api.js';
import type { Io, Outcome } from '../command.js';
import { exportTo } from '../files.js';

interface Options extends ApiOptions {
  format: 'csv' | 'ndjson';
  from?: string;
  to?: string;
}

/** `quartermaster usage export`. */
export async function run(io: Io, file: string | undefined, { url, token, ...range }: Options): Promise<Outcome> {
  const query = { ...range, format: range.format === 'csv' ? 'csv' : 'json' };
  const api = apiFrom(io, { ...(url === undefined ? {} : { url }), ...(token === undefined ? {} : { token }) });
  if (!api) return (await import('../direct/usage.js')).exportUsage(io, query, (text) => exportTo(io, file, text));
  const { body } = await api.request('GET', `/v1/metrics/usage?${new URLSearchParams(query).toString()}`);
  return exportTo(io, file, body ? Readable.fromWeb(body) : Readable.from([]));
}
