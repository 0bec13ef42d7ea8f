import { required } from '../../common/problem.js';
import { ConfigError } from '../../config/env.js';
import { hashApiKey } from '../../keys/api-key-format.js';
import { CreateKeyDto } from '../../keys/key.dto.js';
import { KeysRepository, type KeyRow } from '../../keys/keys.repository.js';
import { KeysService } from '../../keys/keys.service.js';
import { UsersRepository, type UserRow } from '../../users/users.repository.js';
import { checked } from '../checked.js';
import { UsageError, type Io } from '../command.js';
import { OPERATOR } from '../operator.js';
import { idOfOwner } from '../owner.js';
import { withPlatform } from '../platform.js';

export interface MadeKey {
  id: string;
  key: string;
}

export interface FoundKey {
  key: KeyRow;
  /** The end of the grace period of a secret that was replaced; null: the secret is current. */
  retiresAt: Date | null;
  owner: UserRow;
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

/** @returns the key of a secret; null if no account has it. @throws UsageError if the text is not a key */
export async function findKey(io: Io, text: string): Promise<FoundKey | null> {
  const hash = hashApiKey(text);
  if (hash === undefined) throw new UsageError('This is not an API key, or a character of it is missing or wrong.');
  return withPlatform(io, async (app) => {
    const found = await app.get(KeysRepository).findBySecret(hash);
    if (!found) return null;
    return { ...found, owner: required(await app.get(UsersRepository).findById(found.key.ownerId)) };
  });
}
