import { applyDecorators } from '@nestjs/common';
import { IsString, ValidateBy } from 'class-validator';
import { isStorable } from '../common/text.js';
import type { Env } from '../config/env.js';

const CLASSES: [RegExp, string][] = [
  [/[a-z]/, 'a lower-case letter (a–z)'],
  [/[A-Z]/, 'an upper-case letter (A–Z)'],
  [/[0-9]/, 'a digit (0–9)'],
  [/[^A-Za-z0-9\s]/, 'a special character'],
];

/**
 * Returns what a new password lacks, in one sentence, or undefined if it satisfies the policy.
 * @param password in NFC; a character is a code point
 */
export async function faultOfPassword(password: string, policy: Env['passwordPolicy']): Promise<string | undefined> {
  return faultOfForm(password, policy) ?? ((await isCommon(password)) ? COMMON : undefined);
}

/**
 * Validates a new password of a body together with the other members, under the policy that the validation pipe has as
 * a group. `Passwords` checks it again before it hashes.
 */
export function IsNewPassword(): PropertyDecorator {
  const rules = (['classes', 'length'] as const).map((policy) => {
    const validator = {
      validate: async (value: unknown) =>
        typeof value !== 'string' || (await faultOfPassword(value.normalize('NFC'), policy)) === undefined,
      // Must be synchronous. A password that has the right form and is rejected all the same is a common one.
      defaultMessage: (args?: { value: unknown }) =>
        faultOfForm(String(args?.value).normalize('NFC'), policy) ?? COMMON,
    };
    return ValidateBy({ name: 'isNewPassword', validator }, { groups: [policy] });
  });
  return applyDecorators(IsString(), ...rules);
}

const COMMON = 'must not be a common password';

function faultOfForm(password: string, policy: Env['passwordPolicy']): string | undefined {
  if (!isStorable(password)) return 'must not have U+0000 or lone surrogates';
  const [min, max] = policy === 'classes' ? [8, 64] : [15, 256];
  const length = [...password].length;
  const lacks = length < min || length > max ? [`${String(min)} to ${String(max)} characters`] : [];
  if (policy === 'classes') lacks.push(...CLASSES.flatMap(([pattern, what]) => (pattern.test(password) ? [] : [what])));
  return lacks.length > 0 ? `must have ${LIST.format(lacks)}` : undefined;
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
