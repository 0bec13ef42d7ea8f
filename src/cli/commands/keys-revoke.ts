import { isId } from '../../common/names.js';
import { apiFrom, type ApiOptions } from '../api.js';
import { UsageError, type Io, type Outcome } from '../command.js';

/** `quartermaster keys revoke`. */
export async function run(io: Io, id: string, target: ApiOptions): Promise<Outcome> {
  if (!isId(id)) throw new UsageError('A key is revoked by its id, a UUID. quartermaster keys find shows the id.');
  const api = apiFrom(io, target);
  if (api) await api.send('DELETE', `/v1/keys/${id}`);
  else await (await import('../direct/keys.js')).revokeKey(io, id);
  return { data: { id }, text: `The key ${id} is revoked.` };
}
