import { randomBytes } from 'node:crypto';
import { query } from './server.js';

/** A secret that must be found nowhere, but in the answers to some operations. */
export interface Canary {
  name: string;
  /** In every form in which it might be found, small letters. */
  forms: string[];
  /** What may answer it. */
  shownBy: string[];
}

/** So much of a secret that nobody finds it by chance. */
const ENOUGH = 8;

/**
 * The forms that a secret might be found in: as it is, in hexadecimal, base64 and base64url (wherever in something longer
 * it begins), in a URL, in JSON, in HTML.
 */
export function formsOf(secret: string | Buffer): string[] {
  const bytes = Buffer.from(secret);
  const forms = [bytes.toString('latin1'), bytes.toString('hex')];
  for (const encoding of ['base64', 'base64url'] as const) {
    for (const offset of [0, 1, 2]) {
      const text = Buffer.concat([Buffer.alloc(offset), bytes])
        .toString(encoding)
        .replace(/=+$/, '');
      // Without the characters that hold bits of what is before and after.
      forms.push(text.slice(offset === 0 ? 0 : offset + 1, (bytes.length + offset) % 3 === 0 ? undefined : -1));
    }
  }
  if (typeof secret === 'string') {
    forms.push(secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1));
    forms.push(
      secret.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`),
      bytes.toString('utf16le'),
    );
  }
  return [...new Set(forms.map((form) => form.toLowerCase()))].filter((form) => form.length >= ENOUGH);
}

/** A password that nothing else has, and that the rules allow. */
export function canaryPassword(): string {
  return `Canary+${randomBytes(9).toString('base64url')}/7a`;
}

/** All that a database holds, each row as JSON; what is bytes also as the text that it may be. */
export async function dump(url: string): Promise<string> {
  const tables = await query(
    url,
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema')`,
  );
  // One statement: one moment.
  const all = tables.map(({ name }) => `SELECT '${name}' AS name, to_jsonb(t)::text AS row FROM ${name} t`);
  const rows = await query(url, all.join(' UNION ALL '));
  const text = rows.map(({ name, row }) => `${name} ${row}\n`).join('');
  const bytes = [...text.matchAll(/\\\\x([0-9a-f]+)/g)].map(([, hex = '']) =>
    Buffer.from(hex, 'hex').toString('latin1'),
  );
  return `${text}${bytes.join('\n')}`;
}
