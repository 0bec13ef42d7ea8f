import { TOTP } from 'otpauth';
import { type Account, type Api } from './api.js';

/** A TOTP secret and its recovery codes. */
export interface Authenticator {
  secret: string;
  /** The code that enabled TOTP. */
  used: string;
  recoveryCodes: string[];
}

/** Returns the code for now, or for a later step. */
export function codeOf(secret: string, steps = 0): string {
  return new TOTP({ secret }).generate({ timestamp: Date.now() + steps * 30_000 });
}

/** Returns codes that are wrong at every step within an hour; any fixed code could be right by chance. */
export function wrongCodes(secret: string, count: number): string[] {
  const right = new Set(Array.from({ length: 120 }, (_, step) => codeOf(secret, step - 2)));
  const codes = Array.from({ length: count + right.size }, (_, n) => String(n).padStart(6, '0'));
  return codes.filter((code) => !right.has(code)).slice(0, count);
}

/** Creates a secret that is not enabled yet. */
export async function prepareTotp(api: Api, account: Account): Promise<string> {
  const { body } = await api.as(account).post('/v1/auth/totp', { password: account.password });
  return body.secret;
}

/** Enables two-factor sign-in. The current code is used up; the next one is valid. */
export async function enableTotp(api: Api, account: Account): Promise<Authenticator> {
  const secret = await prepareTotp(api, account);
  const used = codeOf(secret);
  const answer = await api.as(account).post('/v1/auth/totp/confirm', { code: used });
  if (answer.status !== 200) throw new Error(`Switching TOTP on answered ${String(answer.status)}: ${answer.text}`);
  return { secret, used, recoveryCodes: answer.body.recoveryCodes };
}
