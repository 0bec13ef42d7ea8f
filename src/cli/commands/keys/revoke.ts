import { isId } from '../../../common/names.js';
import { clientFrom, type ApiOptions } from '../../api.js';
import { UsageError, type Io, type Outcome } from '../../command.js';

/** `quartermaster keys revoke`. */
export async function run(io: Io, id: string, target: ApiOptions): Promise<Outcome> {
  if (!isId(id)) throw new UsageError('A key is revoked by its id, a UUID. quartermaster keys find shows the id.');
  const client = clientFrom(io, target);
  if (client) await client.delete('/v1/keys/{id}', { params: { path: { id } } });
  else await (await import('../../direct/keys.js')).revokeKey(io, id);
  return { data: { id }, text: `The key ${id} is revoked.` };
}
