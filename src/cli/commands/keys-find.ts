import { UsageError, type Io, type Outcome } from '../command.js';
import { findKey, type FoundKey } from '../direct/keys.js';
import { EXIT } from '../exit-codes.js';

/** `quartermaster keys find`. */
export async function run(io: Io, given: string | undefined): Promise<Outcome> {
  const text = given ?? (await io.piped('the key'));
  if (text === undefined) throw new UsageError('A key is missing: name it, or pipe it in.');
  const found = await findKey(io, text.trim());
  if (!found) {
    const told = 'No account has this key: it was revoked, or it belongs to another platform.';
    return { data: { key: null }, text: told, exitCode: EXIT.problems };
  }
  const { key, owner } = found;
  const { id, name, scopes, createdAt, expiresAt } = key;
  const { username, email } = owner;
  const state = stateOf(found);
  return {
    data: {
      key: { id, name, scopes, state, createdAt, expiresAt },
      owner: { id: owner.id, username, email, status: owner.status },
    },
    text: [
      `key      ${id}, "${name}"`,
      `state    ${state}`,
      `scopes   ${scopes.join(', ') || 'none'}`,
      `owner    ${[username, email, owner.id].filter((each) => each !== null).join(', ')}`,
      `To revoke it: quartermaster keys revoke ${id}`,
    ].join('\n'),
  };
}

function stateOf({ key: { disabled, expiresAt }, retiresAt, owner }: FoundKey): string {
  const now = new Date();
  if ((expiresAt && expiresAt <= now) || (retiresAt && retiresAt <= now)) return 'expired';
  if (disabled) return 'disabled';
  if (owner.status === 'disabled') return 'disabled with its owner';
  return retiresAt ? `rotated, valid until ${retiresAt.toISOString()}` : 'valid';
}
