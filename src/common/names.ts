import { domainToASCII, domainToUnicode } from 'node:url';
import { isEmail } from 'class-validator';
import { isStorable } from './text.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text has the form of an id. Usernames and e-mails never have it, so a user reference is unambiguous. */
export function isId(text: string): boolean {
  return UUID.test(text);
}

const USERNAMES = {
  strict: /^[A-Za-z0-9]+$/,
  extended: /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/,
};

export type UsernamePolicy = keyof typeof USERNAMES;

/** Validates a new username. @returns the error, which completes "username …"; undefined if it is valid */
export function faultOfUsername(text: string, policy: UsernamePolicy): string | undefined {
  if (text.length < 2 || text.length > 64 || !USERNAMES[policy].test(text)) {
    return policy === 'strict'
      ? 'must have 2 to 64 letters and digits (A–Z, a–z, 0–9)'
      : 'must have 2 to 64 letters and digits (A–Z, a–z, 0–9), with single ., - or _ between them';
  }
  if (text.toLowerCase() === 'me') return 'must not be "me"';
  return isId(text.replace(/[._]/g, '-')) ? 'must not have the form of an id' : undefined;
}

/** RFC 5321, section 4.5.3.1.3, without the angle brackets. */
const MAX_EMAIL_LENGTH = 254;

/**
 * Characters that an e-mail must not have: invisible ones (controls, spaces, format characters, fillers), unassigned
 * code points, and quotes, because mail programs rewrite quoted local parts.
 */
const UNFIT = /["\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

export function isEmailAddress(text: string): boolean {
  return emailKey(text) !== null;
}

/**
 * Returns the normalized form of a username or e-mail, used for uniqueness and look-up. Two names are equal if they
 * differ only in case (Unicode full case folding), composition of accents (NFC), or spelling of the domain (`xn--…`,
 * IDNA). In a domain, `ß` and `ss` differ, as IDNA has it.
 * @returns null for a text that cannot be a name
 */
export function loginKey(login: string): string | null {
  return faultOfUsername(login, 'extended') === undefined ? login.toLowerCase() : emailKey(login);
}

/** Returns the common prefix of the keys of all names that begin with this text; null if no name can. */
export function loginKeyPrefix(text: string): string | null {
  if (!isStorable(text) || UNFIT.test(text)) return null;
  const [local = '', domain, ...more] = text.normalize('NFC').split('@');
  if (domain === undefined) return foldCase(local);
  if (more.length > 0) return null;
  const labels = domain.split('.');
  // The last label can be incomplete, and so not be valid IDNA.
  const last = labels.pop() ?? '';
  const folded = [...labels.map(foldLabel), foldLabel(last) ?? last.toLowerCase()];
  return folded.includes(null) ? null : `${foldCase(local)}@${folded.join('.')}`;
}

function emailKey(text: string): string | null {
  if (text.length > MAX_EMAIL_LENGTH || !isStorable(text) || UNFIT.test(text)) return null;
  const email = text.normalize('NFC');
  if (!isEmail(email)) return null;
  const at = email.lastIndexOf('@');
  const labels = email
    .slice(at + 1)
    .split('.')
    .map(foldLabel);
  return labels.includes(null) ? null : `${foldCase(email.slice(0, at))}@${labels.join('.')}`;
}

/**
 * Unicode's canonical caseless form (D145): full case folding between NFD and NFC. JavaScript has no case folding. The
 * lower case of a character's upper case is equal to it, except for `ı`, which folds to itself. Lower case is applied
 * first because the upper case of `ẞ` is `ẞ`. Works by character, because the lower case of `Σ` depends on its
 * neighbours.
 */
function foldCase(text: string): string {
  return [...text.normalize('NFD')]
    .map((char) => (char === 'ı' ? char : lowerCase(lowerCase(char).toUpperCase())))
    .join('')
    .normalize('NFC');
}

function lowerCase(text: string): string {
  return [...text].map((char) => char.toLowerCase()).join('');
}

/**
 * Maps a domain label to its IDNA form (UTS 46), in Unicode. The functions of `node:url` parse a host, for which a
 * label could be an IPv4 address or several labels. So the result must be one label and survive conversion back.
 */
function foldLabel(label: string): string | null {
  if (/^[a-z0-9-]+$/i.test(label) && !/^xn--/i.test(label)) return label.toLowerCase();
  if (!/^[a-z0-9\u{80}-\u{10ffff}-]+$/iu.test(label)) return null;
  const ascii = domainToASCII(label);
  if (!/^[a-z0-9-]{1,63}$/.test(ascii)) return null;
  const unicode = domainToUnicode(ascii);
  // IDNA keeps the final sigma, whose upper case is that of the other sigma.
  return domainToASCII(unicode) === ascii ? unicode.replaceAll('ς', 'σ') : null;
}
