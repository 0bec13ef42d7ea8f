import { AccountRescue } from '../../../auth/recovery/account-rescue.js';
import type { Io, Outcome } from '../../command.js';
import { passwordFrom, shownOnce } from '../../password.js';
import { withPlatform } from '../../direct/platform.js';

/** `quartermaster admin reset-password`. */
export async function run(io: Io, login: string | undefined): Promise<Outcome> {
  return withPlatform(io, async (app) => {
    const given = await passwordFrom(io);
    const { name, endedSessions } = await app.get(AccountRescue).resetPassword(login, given.password);
    return {
      data: { username: name, ...(given.isRandom ? { password: given.password } : {}), endedSessions },
      text: `The password of ${name} is set; sessions ended: ${endedSessions}.${shownOnce(name, given)}`,
    };
  });
}
