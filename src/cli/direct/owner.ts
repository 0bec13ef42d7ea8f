import type { INestApplicationContext } from '@nestjs/common';
import { ConfigError } from '../../config/env.js';
import { UsersRepository } from '../../users/users.repository.js';

/** Returns the id of the user that an argument names. @throws ConfigError */
export async function idOfOwner(app: INestApplicationContext, reference: string): Promise<string> {
  const owner = await app.get(UsersRepository).findByReference(reference);
  if (!owner) throw new ConfigError(`There is no user ${JSON.stringify(reference)}.`);
  return owner.id;
}
