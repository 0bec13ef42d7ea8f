import { randomPassword } from '../passwords/random-password.js';
import { UsageError, type Io } from './command.js';

/** A password that was piped to a command, or a random one. */
export interface Password {
  password: string;
  isRandom: boolean;
}

/** @throws UsageError if the piped text is not one line */
export async function passwordFrom({ piped }: Io): Promise<Password> {
  const password = await piped('the new password');
  if (password === undefined) return { password: randomPassword(), isRandom: true };
  if (/[\p{Cc}\ufffd]/u.test(password)) {
    throw new UsageError('The password must be one line of valid UTF-8, without control characters.');
  }
  return { password, isRandom: false };
}

/** The lines that show a random password. */
export function shownOnce(username: string, { password, isRandom }: Password): string {
  return isRandom ? `\n  username  ${username}\n  password  ${password}\n(The password is shown only once.)` : '';
}
