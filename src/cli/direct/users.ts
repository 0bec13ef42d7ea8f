import { uuidv7 } from 'uuidv7';
import { toUserResponse, type UserResponse } from '../../users/user.dto.js';
import { UserImport } from '../../users/user-import.js';
import { UsersRepository } from '../../users/users.repository.js';
import type { Problem } from '../../common/problem.js';
import type { Io } from '../command.js';
import { explainProblem } from '../failure.js';
import type { UserTarget } from '../import/user-import-run.js';
import { OPERATOR } from './operator.js';
import { withPlatform } from './platform.js';

const ACCOUNTS_AT_ONCE = 1_000;

/** @param write writes the accounts, while the database is open */
export function exportUsers<T>(io: Io, write: (users: AsyncIterable<UserResponse[]>) => Promise<T>): Promise<T> {
  return withPlatform(io, (app) => write(responsesOf(app.get(UsersRepository))));
}

async function* responsesOf(users: UsersRepository): AsyncGenerator<UserResponse[]> {
  for await (const rows of users.stream(ACCOUNTS_AT_ONCE)) yield rows.map(toUserResponse);
}

/** @param work imports into the database, while it is open */
export function withUsers<T>(io: Io, work: (target: UserTarget) => Promise<T>): Promise<T> {
  return withPlatform(io, (app, env) => {
    const users = app.get(UserImport);
    return work({
      env,
      newId: uuidv7,
      create: async (some) => reasonsOf(await users.createAll(some, OPERATOR)),
      check: async (some, seen) => reasonsOf(await users.checkAll(some, seen)),
    });
  });
}

function reasonsOf(problems: readonly (Problem | null)[]): (string | null)[] {
  return problems.map((problem) => problem && explainProblem(problem));
}
