import { required } from '../../common/problem.js';
import { ConfigError } from '../../config/env.js';
import { CreateKeyDto } from '../../keys/key.dto.js';
import { KeysRepository, type KeyRow } from '../../keys/keys.repository.js';
import { KeysService } from '../../keys/keys.service.js';
import { UsersRepository, type UserRow } from '../../users/users.repository.js';
import { checked } from '../checked.js';
import type { Io } from '../command.js';
import type { FoundKey } from '../found-key.js';
import { OPERATOR } from './operator.js';
import { idOfOwner } from './owner.js';
import { withPlatform } from './platform.js';

export interface MadeKey {
  id: string;
  key: string;
}

export function createKey(io: Io, body: { owner: string; name: string; scopes: string[] }): Promise<MadeKey> {
  return withPlatform(io, async (app, env) => {
    const dto = await checked(env, CreateKeyDto, body);
    const ownerId = await idOfOwner(app, body.owner);
    const { key, secret } = await app.get(KeysService).createFor(ownerId, dto, OPERATOR);
    return { id: key.id, key: secret };
  });
}

export function revokeKey(io: Io, id: string): Promise<void> {
  return withPlatform(io, async (app) => {
    if (!(await app.get(KeysRepository).find({ ownerId: null, id }))) throw new ConfigError(`There is no key ${id}.`);
    await app.get(KeysService).deleteOf({ ownerId: null, id }, OPERATOR);
  });
}

/** @returns the key of a secret; null if no account has it */
export async function findKey(io: Io, hash: string): Promise<FoundKey | null> {
  return withPlatform(io, async (app) => {
    const found = await app.get(KeysRepository).findBySecret(hash);
    if (!found) return null;
    const owner = required(await app.get(UsersRepository).findById(found.key.ownerId));
    const state = stateOf(found, owner);
    const { id, name, scopes, createdAt, expiresAt } = found.key;
    return {
      key: { id, name, scopes, state, createdAt: createdAt.toISOString(), expiresAt: expiresAt?.toISOString() ?? null },
      owner,
    };
  });
}

/** @param found with `retiresAt`, the end of the grace period of a secret that was replaced */
function stateOf(
  { key: { disabled, expiresAt }, retiresAt }: { key: KeyRow; retiresAt: Date | null },
  owner: UserRow,
): string {
  const now = new Date();
  if ((expiresAt && expiresAt <= now) || (retiresAt && retiresAt <= now)) return 'expired';
  if (disabled) return 'disabled';
  if (owner.status === 'disabled') return 'disabled with its owner';
  return retiresAt ? `rotated, valid until ${retiresAt.toISOString()}` : 'valid';
}
