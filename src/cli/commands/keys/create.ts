import { clientFrom, type ApiOptions } from '../../api.js';
import type { Io, Outcome } from '../../command.js';

interface Options extends ApiOptions {
  name: string;
  scope: string[];
  expires?: string;
}

/** `quartermaster keys create`. */
export async function run(io: Io, owner: string, { name, scope, expires, ...target }: Options): Promise<Outcome> {
  const body = { owner, name, scopes: scope, ...(expires === undefined ? {} : { expiresAt: expires }) };
  const client = clientFrom(io, target);
  const { id, key } = client
    ? await client.post('/v1/keys', { body })
    : await (await import('../../direct/keys.js')).createKey(io, body);
  return {
    data: { id, key },
    text: `The key ${id} of ${owner} is created:\n  ${key}\n(The key is shown only once.)`,
  };
}
