import { Readable } from 'node:stream';
import { stringify } from 'csv-stringify/sync';
import type { UserResponse } from '../../../users/user.dto.js';
import { clientFrom, type ApiOptions } from '../../api.js';
import type { Io, Outcome } from '../../command.js';
import { exportTo } from '../../files.js';

const COLUMNS: (keyof UserResponse)[] = [
  ...(['id', 'username', 'email', 'firstName', 'lastName', 'role', 'status', 'plan', 'credits'] as const),
  ...(['createdAt', 'updatedAt', 'lastLoginAt'] as const),
];

interface Options extends ApiOptions {
  format: 'csv' | 'ndjson';
}

/** `quartermaster users export`. */
export async function run(io: Io, file: string | undefined, { format, ...target }: Options): Promise<Outcome> {
  const write = (users: AsyncIterable<UserResponse[]>) =>
    exportTo(io, file, Readable.from(linesOf(users, format), { objectMode: false }));
  const client = clientFrom(io, target);
  if (!client) return (await import('../../direct/users.js')).exportUsers(io, write);
  return write((await import('../../over-api/users.js')).listUsers(client));
}

async function* linesOf(batches: AsyncIterable<UserResponse[]>, format: Options['format']): AsyncGenerator<string> {
  if (format === 'csv') yield stringify([COLUMNS]);
  for await (const users of batches) {
    yield format === 'csv'
      ? stringify(users, { columns: COLUMNS, escape_formulas: true })
      : users.map((user) => `${JSON.stringify(user)}\n`).join('');
  }
}
