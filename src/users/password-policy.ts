import { isStorable } from '../common/text.js';
import type { Env } from '../config/env.js';

const CLASSES: [RegExp, string][] = [
  [/[a-z]/, 'a lower-case letter'],
  [/[A-Z]/, 'an upper-case letter'],
  [/[0-9]/, 'a digit'],
  [/[^A-Za-z0-9\s]/, 'a special character'],
];

/**
 * What a new password breaks of the policy, all that it lacks in one sentence; undefined if it is good.
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

/** Whether a password is one of the 49,000 most common ones, in any case and whatever punctuation trails it. */
async function isCommon(password: string): Promise<boolean> {
  // Loaded at the first new password: the list takes some megabytes that a start does not need.
  const list = await (common ??= import('@zxcvbn-ts/language-common').then(
    ({ dictionary }) => new Set(dictionary['passwords-common'].map(String)),
  ));
  const folded = password.toLowerCase();
  return list.has(folded) || list.has(folded.replace(/[^a-z0-9]+$/, ''));
}
