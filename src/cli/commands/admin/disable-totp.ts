import { AccountRescue } from '../../../auth/recovery/account-rescue.js';
import type { Io, Outcome } from '../../command.js';
import { withPlatform } from '../../direct/platform.js';

/** `quartermaster admin disable-totp`. */
export async function run(io: Io, login: string | undefined): Promise<Outcome> {
  return withPlatform(io, async (app) => {
    const name = await app.get(AccountRescue).disableTotp(login);
    return { data: { username: name }, text: `Two-factor sign-in of ${name} is off.` };
  });
}
