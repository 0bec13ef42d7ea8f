import { domainToASCII, domainToUnicode } from 'node:url';
import { isEmail } from 'class-validator';
import { isStorable } from './text.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text has the form of an id. No username and no e-mail has it, so that a reference has one meaning. */
export function isId(text: string): boolean {
  return UUID.test(text);
}

const USERNAMES = {
  strict: /^[A-Za-z0-9]+$/,
  extended: /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/,
};

export type UsernamePolicy = keyof typeof USERNAMES;

/** What is wrong with a new username; completes "username …". */
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
 * Characters that no e-mail may have: what nobody sees (controls, blanks, format characters, fillers), what no version of
 * Unicode defines yet, and quotes, since mail programs rewrite quoted local parts.
 */
const UNFIT = /["\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

export function isEmailAddress(text: string): boolean {
  return emailKey(text) !== null;
}

/**
 * The form of a username or e-mail that makes it unique and that finds it. Two names are the same if they differ only in
 * case (Unicode full case folding), in how accents are composed (NFC), or in how the domain is written (`xn--…`, IDNA).
 * @returns null for a text that can be no name: it finds nobody
 */
export function loginKey(login: string): string | null {
  return faultOfUsername(login, 'extended') === undefined ? login.toLowerCase() : emailKey(login);
}

/** What the key of every name begins with that begins with this text; null where there can be no such name. */
export function loginKeyPrefix(text: string): string | null {
  if (!isStorable(text) || UNFIT.test(text)) return null;
  const [local = '', domain, ...more] = text.normalize('NFC').split('@');
  if (domain === undefined) return foldCase(local);
  if (more.length > 0) return null;
  const labels = domain.split('.');
  // The last label may be cut anywhere, where it need not be a label that IDNA takes.
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
 * Unicode's canonical caseless form (D145): full case folding between NFD and NFC. JavaScript has no case folding, but each
 * character's lower case of its upper case is the same but for `ı`, which folds to itself; lower case comes first because
 * the upper case of `ẞ` is `ẞ`. By character, since the lower case of `Σ` depends on what stands around it.
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
 * A label of a domain as people write it, in the form to which IDNA (UTS 46) maps it. The functions of `node:url` read a
 * host, of which a label could be an IPv4 address or hold several labels, so the result must be one label, and the same
 * again when it is converted back.
 */
function foldLabel(label: string): string | null {
  if (/^[a-z0-9-]+$/i.test(label) && !/^xn--/i.test(label)) return label.toLowerCase();
  if (!/^[a-z0-9\u{80}-\u{10ffff}-]+$/iu.test(label)) return null;
  const ascii = domainToASCII(label);
  if (!/^[a-z0-9-]{1,63}$/.test(ascii)) return null;
  const unicode = domainToUnicode(ascii);
  return domainToASCII(unicode) === ascii ? unicode : null;
}
