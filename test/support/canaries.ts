import { randomBytes } from 'node:crypto';
import { query } from './server.js';

/** A secret that may appear only in the responses of some operations. */
export interface Canary {
  name: string;
  /** The encodings to search for, in lower case. */
  forms: string[];
  /** The operations whose responses may contain it. */
  shownBy: string[];
}

/** The minimum length of a searched form, so that none matches by chance. */
const ENOUGH = 8;

/**
 * Returns the encodings in which a secret might appear: plain, UTF-16, hexadecimal, base64 and base64url at every
 * offset, URL, JSON and HTML.
 */
export function formsOf(secret: string | Buffer): string[] {
  const bytes = Buffer.from(secret);
  const forms = [bytes.toString('latin1'), bytes.toString('hex')];
  for (const encoding of ['base64', 'base64url'] as const) {
    for (const offset of [0, 1, 2]) {
      const text = Buffer.concat([Buffer.alloc(offset), bytes])
        .toString(encoding)
        .replace(/=+$/, '');
      // Drops characters that also encode bits of adjacent bytes.
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

/** Returns a unique password that the password policy accepts. */
export function canaryPassword(): string {
  return `Canary+${randomBytes(9).toString('base64url')}/7a`;
}

/** Dumps the database, each row as JSON. Bytes are also decoded as text. */
export async function dump(url: string): Promise<string> {
  const tables = await query(
    url,
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema')`,
  );
  // One statement reads one snapshot.
  const all = tables.map(({ name }) => `SELECT '${name}' AS name, to_jsonb(t)::text AS row FROM ${name} t`);
  const rows = await query(url, all.join(' UNION ALL '));
  const text = rows.map(({ name, row }) => `${name} ${row}\n`).join('');
  const bytes = [...text.matchAll(/\\\\x([0-9a-f]+)/g)].map(([, hex = '']) =>
    Buffer.from(hex, 'hex').toString('latin1'),
  );
  return `${text}${bytes.join('\n')}`;
}
