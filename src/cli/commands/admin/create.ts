import { CreateUserDto } from '../../../users/user.dto.js';
import { UsersService } from '../../../users/users.service.js';
import type { Io, Outcome } from '../../command.js';
import { checked } from '../../checked.js';
import { OPERATOR } from '../../direct/operator.js';
import { passwordFrom, shownOnce } from '../../password.js';
import { withPlatform } from '../../direct/platform.js';

/** `quartermaster admin create`. */
export async function run(io: Io, username: string, { email }: { email?: string }): Promise<Outcome> {
  return withPlatform(io, async (app, env) => {
    const given = await passwordFrom(io);
    const dto = await checked(env, CreateUserDto, { username, email, password: given.password, role: 'admin' });
    const { id } = await app.get(UsersService).create(dto, OPERATOR);
    return {
      data: { id, username, ...(given.isRandom ? { password: given.password } : {}) },
      text: `The administrator ${username} is created.${shownOnce(username, given)}`,
    };
  });
}
