import { hashApiKey } from '../../../keys/api-key-format.js';
import { clientFrom, type ApiOptions } from '../../api.js';
import { UsageError, type Io, type Outcome } from '../../command.js';
import { EXIT } from '../../exit-codes.js';

const UNKNOWN = 'No account has this key: it was revoked, or it belongs to another platform.';

const NOT_VALID =
  'No account has this key, or it is disabled or has expired: keys find on the database tells such keys, too.';

/** `quartermaster keys find`. */
export async function run(io: Io, given: string | undefined, target: ApiOptions): Promise<Outcome> {
  const client = clientFrom(io, target);
  const text = (given ?? (await io.piped('the key')))?.trim();
  if (text === undefined) throw new UsageError('A key is missing: name it, or pipe it in.');
  const hash = hashApiKey(text);
  if (hash === undefined) throw new UsageError('This is not an API key, or a character of it is missing or wrong.');
  const found = client
    ? await (await import('../../over-api/keys.js')).findKey(client, text)
    : await (await import('../../direct/keys.js')).findKey(io, hash);
  if (!found) return { data: { key: null }, text: client ? NOT_VALID : UNKNOWN, exitCode: EXIT.problems };
  const { id, name, scopes, state, createdAt, expiresAt } = found.key;
  const { username, email, status, id: ownerId } = found.owner;
  return {
    data: {
      key: { id, name, scopes, state, createdAt, expiresAt },
      owner: { id: ownerId, username, email, status },
    },
    text: [
      `key      ${id}, "${name}"`,
      `state    ${state}`,
      `scopes   ${scopes.join(', ') || 'none'}`,
      `owner    ${[username, email, ownerId].filter((each) => each !== null).join(', ')}`,
      `To revoke it, run the command: keys revoke ${id}`,
    ].join('\n'),
  };
}
