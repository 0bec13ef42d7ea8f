import type { Env } from '../config/env.js';

const CLASSES: [RegExp, string][] = [
  [/[a-z]/, 'must have a lower-case letter'],
  [/[A-Z]/, 'must have an upper-case letter'],
  [/[0-9]/, 'must have a digit'],
  [/[^A-Za-z0-9\s]/, 'must have a special character'],
];

/** What a new password breaks of the policy; nothing if it is good. */
export async function passwordFaults(password: string, policy: Env['passwordPolicy']): Promise<string[]> {
  const [min, max] = policy === 'classes' ? [8, 64] : [15, 256];
  const faults: string[] = [];
  const length = [...password].length;
  if (length < min || length > max) faults.push(`must have ${String(min)} to ${String(max)} characters`);
  if (!password.isWellFormed() || password.includes('\0')) faults.push('must not have U+0000 or lone surrogates');
  if (policy === 'classes')
    faults.push(...CLASSES.flatMap(([pattern, fault]) => (pattern.test(password) ? [] : [fault])));
  if (faults.length === 0 && (await isCommon(password))) faults.push('must not be a common password');
  return faults;
}

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
