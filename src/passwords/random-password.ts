import { randomInt } from 'node:crypto';

/** Without 0/O, 1/l/I, which people confuse. */
const LETTERS = ['abcdefghijkmnpqrstuvwxyz', 'ABCDEFGHJKLMNPQRSTUVWXYZ', '23456789', '-+=!'];

/** Returns 24 random characters, at least one of every class: about 130 bits. */
export function randomPassword(): string {
  const all = LETTERS.join('');
  const pick = (from: string): string => from.charAt(randomInt(from.length));
  for (;;) {
    const password = Array.from({ length: 24 }, () => pick(all)).join('');
    if (LETTERS.every((some) => [...some].some((letter) => password.includes(letter)))) return password;
  }
}
