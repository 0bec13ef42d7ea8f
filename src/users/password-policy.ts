import { isStorable } from '../common/text.js';
import type { Env } from '../config/env.js';

const CLASSES: [RegExp, string][] = [
  [/[a-z]/, 'a lower-case letter'],
  [/[A-Z]/, 'an upper-case letter'],
  [/[0-9]/, 'a digit'],
  [/[^A-Za-z0-9\s]/, 'a special character'],
];

/**
 * Returns what a new password lacks, in one sentence, or undefined if it satisfies the policy.
 * @param password in NFC; a character is a code point
 */
export async function faultOfPassword(password: string, policy: Env['passwordPolicy']): Promise<string | undefined> {
  if (!isStorable(password)) return 'must not have U+0000 or lone surrogates';
  const [min, max] = policy === 'classes' ? [8, 64] : [15, 256];
  const length = [...password].length;
  const lacks = length < min || length > max ? [`${String(min)} to ${String(max)} characters`] : [];
  if (policy === 'classes') lacks.push(...CLASSES.flatMap(([pattern, what]) => (pattern.test(password) ? [] : [what])));
  if (lacks.length > 0) return `must have ${LIST.format(lacks)}`;
  return (await isCommon(password)) ? 'must not be a common password' : undefined;
}

const LIST = new Intl.ListFormat('en-GB', { type: 'conjunction' });

let common: Promise<Set<string>> | undefined;

/** Returns whether a password is one of the 49,000 most common ones, ignoring case and trailing punctuation. */
async function isCommon(password: string): Promise<boolean> {
  // Loaded on first use: the list takes some megabytes that a start does not need.
  const list = await (common ??= import('@zxcvbn-ts/language-common').then(
    ({ dictionary }) => new Set(dictionary['passwords-common'].map(String)),
  ));
  const folded = password.toLowerCase();
  return list.has(folded) || list.has(folded.replace(/[^a-z0-9]+$/, ''));
}
