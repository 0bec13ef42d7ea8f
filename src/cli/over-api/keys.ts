import type { Quartermaster } from '../../../sdk/src/index.js';
import type { FoundKey } from '../found-key.js';

/** @returns the key of a secret; null if the secret is not valid now: the API does not tell about such secrets */
export async function findKey(client: Quartermaster, secret: string): Promise<FoundKey | null> {
  const keyId = await idOf(client, secret);
  if (keyId === null) return null;
  const key = await client.get('/v1/keys/{id}', { params: { path: { id: keyId } } });
  const owner = await client.get('/v1/users/{user}', { params: { path: { user: key.owner } } });
  const state = owner.status === 'disabled' ? 'disabled with its owner' : 'valid';
  return { key: { ...key, state }, owner };
}

/** Any API of the catalogue will do: a dry run costs nothing, and tells the key even if it does not cover the API. */
async function idOf(client: Quartermaster, secret: string): Promise<string | null> {
  const { data } = await client.get('/v1/apis', { params: { query: { limit: 1 } } });
  const { keyId } = await client.verify({ key: secret, api: data[0]?.slug ?? '', dryRun: true });
  return keyId;
}
