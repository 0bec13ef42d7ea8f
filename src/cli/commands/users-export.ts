import { Readable } from 'node:stream';
import { stringify } from 'csv-stringify/sync';
import { toUserResponse, type UserResponse } from '../../users/user.dto.js';
import { UsersRepository } from '../../users/users.repository.js';
import type { Io, Outcome } from '../command.js';
import { exportTo } from '../files.js';
import { withPlatform } from '../platform.js';

const COLUMNS: (keyof UserResponse)[] = [
  ...(['id', 'username', 'email', 'firstName', 'lastName', 'role', 'status', 'plan', 'credits'] as const),
  ...(['createdAt', 'updatedAt', 'lastLoginAt'] as const),
];

const ACCOUNTS_AT_ONCE = 1_000;

/** `quartermaster users export`. */
export async function run(
  io: Io,
  file: string | undefined,
  { format }: { format: 'csv' | 'ndjson' },
): Promise<Outcome> {
  return withPlatform(io, (app) => {
    const lines = linesOf(app.get(UsersRepository), format);
    return exportTo(io, file, Readable.from(lines, { objectMode: false }));
  });
}

async function* linesOf(users: UsersRepository, format: 'csv' | 'ndjson'): AsyncGenerator<string> {
  if (format === 'csv') yield stringify([COLUMNS]);
  for await (const rows of users.stream(ACCOUNTS_AT_ONCE)) {
    const some = rows.map(toUserResponse);
    yield format === 'csv'
      ? stringify(some, { columns: COLUMNS, escape_formulas: true })
      : some.map((user) => `${JSON.stringify(user)}\n`).join('');
  }
}
