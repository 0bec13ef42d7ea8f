import type { components } from '../../../../../sdk/src/schema';
import { parseCsv } from './parse-csv';
import { randomPassword } from './random-password';

type CreateUser = components['schemas']['CreateUserDto'];

/** The columns of an import. A file needs `username` or `email`; everything else may be missing. */
export const COLUMNS = ['username', 'email', 'password', 'firstName', 'lastName', 'role', 'plan', 'credits'] as const;

/** A line of the file as the API takes it. */
export interface UserRow {
  /** The line of the file; 1 is the header. */
  line: number;
  body: CreateUser;
  /** The file has no password for it. */
  isGenerated: boolean;
  /** Why it cannot be sent. */
  fault?: string;
}

/**
 * Reads the users of a CSV file whose first line names the columns.
 * @throws Error if the columns are not those of a user
 */
export function userRows(text: string): UserRow[] {
  const [header, ...lines] = parseCsv(text);
  if (header === undefined) throw new Error('The file is empty.');
  const names = header.map((name) => name.trim());
  const unknown = names.filter((name) => !(COLUMNS as readonly string[]).includes(name));
  if (unknown.length > 0) {
    throw new Error(`These columns are not known: ${unknown.join(', ')}. Known are ${COLUMNS.join(', ')}.`);
  }
  if (!names.includes('username') && !names.includes('email')) {
    throw new Error('The first line must name a column username or email.');
  }
  return lines.map((fields, index) => rowOf(names, fields, index + 2));
}

function rowOf(names: string[], fields: string[], line: number): UserRow {
  const given = Object.fromEntries(
    names.map((name, index) => [name, (fields[index] ?? '').trim()]).filter(([, text]) => text !== ''),
  ) as Record<string, string>;
  const { credits, password, ...texts } = given;
  const body = {
    ...texts,
    password: password ?? randomPassword(),
    ...(credits === undefined ? {} : { credits: Number(credits) }),
  } as CreateUser;
  const fault =
    fields.length > names.length
      ? `The line has ${String(fields.length)} fields, the header ${String(names.length)}.`
      : given.username === undefined && given.email === undefined
        ? 'Neither a username nor an e-mail address.'
        : credits !== undefined && !/^\d+$/.test(credits)
          ? 'credits must be a number of digits.'
          : undefined;
  return { line, body, isGenerated: password === undefined, ...(fault === undefined ? {} : { fault }) };
}
