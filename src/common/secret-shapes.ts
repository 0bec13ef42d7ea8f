/**
 * The format of this platform's secrets: API keys (`qm_`), refresh tokens (`qmr_`), tokens of e-mails and reset links
 * (`qmt_`), and JWTs. Also matches the characters that follow, so that any input is scanned in linear time.
 */
const SHAPES = /(qm[rt]?_|eyJ)[\w.-]{40,}/g;

/**
 * Removes secrets that a client sent in the wrong place (a path, a User-Agent, a member name) from a text to be logged,
 * stored or returned. Cannot detect passwords, which have no fixed format.
 */
export function concealSecrets(text: string): string {
  return text.replace(SHAPES, '$1*');
}

export function hasSecret(text: string): boolean {
  return concealSecrets(text) !== text;
}
