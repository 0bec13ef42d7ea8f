/**
 * What this platform's own secrets look like: API keys (`qm_`), refresh tokens (`qmr_`), tokens of e-mails and reset
 * links (`qmt_`), and JWTs. Whatever follows is taken along, so that a text is gone through once, however it is made.
 */
const SHAPES = /(qm[rt]?_|eyJ)[\w.-]{40,}/g;

/**
 * A text that is to be logged, kept or repeated, with the secrets taken out that somebody sent in the wrong place: in a
 * path, a User-Agent, as a member's name. A password has no shape and stays.
 */
export function concealSecrets(text: string): string {
  return text.replace(SHAPES, '$1*');
}

export function hasSecret(text: string): boolean {
  return concealSecrets(text) !== text;
}
