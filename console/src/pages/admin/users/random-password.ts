/** Letters and digits that are easy to tell apart, and special characters. */
const KINDS = ['abcdefghjkmnpqrstuvwxyz', 'ABCDEFGHJKLMNPQRSTUVWXYZ', '23456789', '-_.!+'];

/** Returns a password of 20 random characters that meets every policy of the server. */
export function randomPassword(): string {
  const all = KINDS.join('');
  for (;;) {
    const bytes = crypto.getRandomValues(new Uint8Array(256));
    // Equal chances: bytes past the last full round of the alphabet are left out.
    const fair = [...bytes].filter((byte) => byte < 256 - (256 % all.length)).slice(0, 20);
    const password = fair.map((byte) => all[byte % all.length] ?? '').join('');
    if (password.length === 20 && KINDS.every((kind) => [...kind].some((each) => password.includes(each)))) {
      return password;
    }
  }
}
