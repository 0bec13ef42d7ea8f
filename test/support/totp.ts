import { TOTP } from 'otpauth';
import { type Account, type Api } from './api.js';

/** An authenticator, with the codes that stand in for it. */
export interface Authenticator {
  secret: string;
  /** The code that switched it on. */
  used: string;
  recoveryCodes: string[];
}

/** The code of now, or of some steps later. */
export function codeOf(secret: string, steps = 0): string {
  return new TOTP({ secret }).generate({ timestamp: Date.now() + steps * 30_000 });
}

/** So many codes that the secret has at no step for an hour: by chance, any six digits may be right. */
export function wrongCodes(secret: string, count: number): string[] {
  const right = new Set(Array.from({ length: 120 }, (_, step) => codeOf(secret, step - 2)));
  const codes = Array.from({ length: count + right.size }, (_, n) => String(n).padStart(6, '0'));
  return codes.filter((code) => !right.has(code)).slice(0, count);
}

/** Gets a user a secret that is not in use yet. */
export async function prepareTotp(api: Api, account: Account): Promise<string> {
  const { body } = await api.as(account).post('/v1/auth/totp', { password: account.password });
  return body.secret;
}

/** Switches two-factor sign-in on. The code of now is used up; the next step's is good. */
export async function enableTotp(api: Api, account: Account): Promise<Authenticator> {
  const secret = await prepareTotp(api, account);
  const used = codeOf(secret);
  const answer = await api.as(account).post('/v1/auth/totp/confirm', { code: used });
  if (answer.status !== 200) throw new Error(`Switching TOTP on answered ${String(answer.status)}: ${answer.text}`);
  return { secret, used, recoveryCodes: answer.body.recoveryCodes };
}
