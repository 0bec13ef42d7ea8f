import { Problem } from '../../common/problem.js';
import type { Env } from '../../config/env.js';
import { ImportUserDto } from '../../users/import-user.dto.js';
import { checked } from '../checked.js';
import { explainProblem } from '../failure.js';
import type { FileRecord } from './records.js';

/** Columns that `users export` writes and that an import ignores. */
const IGNORED = ['id', 'createdAt', 'updatedAt', 'lastLoginAt'];

export const USER_COLUMNS = [
  ...['username', 'email', 'password', 'passwordHash', 'firstName', 'lastName'],
  ...['role', 'status', 'plan', 'credits', ...IGNORED],
];

/** A valid account of a file, or why the line is rejected. */
export type UserRecord = { line: number; bytes: number } & ({ dto: ImportUserDto } | { reason: string });

/** Validates a record by the rules of `POST /v1/users`. */
export async function toUserRecord(env: Env, { line, bytes, value, fault }: FileRecord): Promise<UserRecord> {
  if (fault !== undefined) return { line, bytes, reason: fault };
  // An export has `null` for what an account does not have. A missing plan is the default one.
  const given = Object.entries(value).filter(
    ([name, each]) => !IGNORED.includes(name) && (each !== null || name === 'plan'),
  );
  const body = Object.fromEntries(given.map(([name, each]) => [name, name === 'credits' ? toNumber(each) : each]));
  if (body.password !== undefined && body.passwordHash !== undefined) {
    return { line, bytes, reason: 'has both password and passwordHash' };
  }
  try {
    return { line, bytes, dto: await checked(env, ImportUserDto, body) };
  } catch (error) {
    if (error instanceof Problem) return { line, bytes, reason: explainProblem(error) };
    throw error;
  }
}

/** CSV has no numbers. */
function toNumber(value: unknown): unknown {
  return typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
}
