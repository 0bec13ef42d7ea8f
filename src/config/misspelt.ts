import { variables } from './env.js';

/**
 * Finds names in the environment that stand for a variable that is not set, but are spelled otherwise: in lower case, one
 * edit away (`PROT` for `PORT`, `LOGLEVEL` for `LOG_LEVEL`), or with `_FILE` where no file is read.
 * @returns a line for each name
 */
export function misspelt(source: Readonly<Record<string, string | undefined>>): string[] {
  const known = variables();
  const unset = known.filter((name) => source[name] === undefined);
  return Object.keys(source).flatMap((name) => {
    const meant = known.includes(name)
      ? undefined
      : unset.find((each) => isOneEditAway(name.toUpperCase().replace(/_FILE$/, ''), each));
    return meant === undefined ? [] : [`${name} is set but not known; ${meant} is similar and not set.`];
  });
}

/** Whether the names differ by at most one letter: missing, added, replaced, or swapped with the next. */
function isOneEditAway(one: string, other: string): boolean {
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  let at = 0;
  while (at < short.length && short[at] === long[at]) at++;
  if (short.length < long.length) return short.slice(at) === long.slice(at + 1);
  if (short.slice(at + 1) === long.slice(at + 1)) return true;
  return short[at] === long[at + 1] && short[at + 1] === long[at] && short.slice(at + 2) === long.slice(at + 2);
}
