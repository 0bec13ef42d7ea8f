import { createHmac } from 'node:crypto';
import { QuartermasterError, isRefusal, type Quartermaster } from '../../../sdk/src/index.js';
import { loginKey } from '../../common/names.js';
import { Env } from '../../config/env.js';
import type { ImportedUser } from '../../users/user-import.js';
import type { UserResponse } from '../../users/user.dto.js';
import { explainRefusal } from '../failure.js';
import type { UserTarget } from '../import/user-import-run.js';

/** The largest page. */
const PAGE = 100;

/** Requests in flight: enough to use the cores of the server, few enough to leave it to others. */
const AT_ONCE = 8;

/** Refusals that concern one account. Any other ends the import, which can be continued. */
const OF_ONE_ACCOUNT = [
  ...(['validation_failed', 'username_taken', 'email_taken'] as const),
  ...(['credits_overprovisioned', 'quota_exceeded'] as const),
];

const ON_DATABASE_ONLY = 'passwordHash can be imported on the database only.';

/** Lists all accounts page by page, newest first. */
export async function* listUsers(client: Quartermaster): AsyncGenerator<UserResponse[]> {
  let users: UserResponse[] = [];
  for await (const user of client.list('/v1/users', { params: { query: { limit: PAGE } } })) {
    if (users.push(user) < PAGE) continue;
    yield users;
    users = [];
  }
  yield users;
}

/** Imports over the API. The server tells its rules for names and passwords. */
export async function usersOf(client: Quartermaster): Promise<UserTarget> {
  const { usernamePolicy, passwordPolicy } = await client.get('/v1/auth/policy');
  return {
    env: new Env({ USERNAME_POLICY: usernamePolicy, PASSWORD_POLICY: passwordPolicy }),
    newId: () => crypto.randomUUID(),
    create: (users) => inGroups(users, (user) => create(client, user)),
    check: async (users, seen) => {
      const plans = new Set<string>();
      for await (const { slug } of client.list('/v1/plans')) plans.add(slug);
      return inGroups(users, (user) => check(client, user, plans, seen));
    },
  };
}

async function create(client: Quartermaster, { id, dto }: ImportedUser): Promise<string | null> {
  const { status, passwordHash, password = derive(id, 'password'), ...account } = dto;
  if (passwordHash !== undefined) return ON_DATABASE_ONLY;
  try {
    const made = await client.post('/v1/users', {
      body: { ...account, password },
      params: { header: { 'Idempotency-Key': derive(id, 'request') } },
    });
    if (status === 'disabled') {
      await client.patch('/v1/users/{user}', { params: { path: { user: made.id } }, body: { status } });
    }
    return null;
  } catch (error) {
    return reasonOf(error);
  }
}

/**
 * Derives a text from the id of an account in the journal. A continued import derives the same text, so it repeats the
 * request exactly. This is also the password of an account that is imported without one: nobody can know it.
 */
function derive(id: string, purpose: string): string {
  return `${createHmac('sha256', id).update(purpose).digest('base64url')}-Aa1`;
}

async function check(
  client: Quartermaster,
  { dto: { username, email, plan, passwordHash } }: ImportedUser,
  plans: ReadonlySet<string>,
  seen: Set<string>,
): Promise<string | null> {
  if (passwordHash !== undefined) return ON_DATABASE_ONLY;
  if (username !== undefined && (await isTaken(client, username, seen))) return 'The username is taken.';
  if (email !== undefined && (await isTaken(client, email, seen))) return 'The email is taken.';
  return plan === undefined || plan === null || plans.has(plan) ? null : 'plan is not the slug of a plan.';
}

async function isTaken(client: Quartermaster, name: string, seen: Set<string>): Promise<boolean> {
  const key = loginKey(name) ?? name;
  if (seen.has(key)) return true;
  seen.add(key);
  try {
    await client.get('/v1/users/{user}', { params: { path: { user: name } } });
    return true;
  } catch (error) {
    if (isRefusal(error, 'not_found')) return false;
    throw error;
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof QuartermasterError && isRefusal(error, ...OF_ONE_ACCOUNT)) return explainRefusal(error);
  throw error;
}

/** Works on several accounts at a time. Accounts of one name wait for each other: the first in the file gets the name. */
async function inGroups<T>(users: readonly ImportedUser[], work: (user: ImportedUser) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const group of groupsOf(users)) results.push(...(await Promise.all(group.map(work))));
  return results;
}

function groupsOf(users: readonly ImportedUser[]): ImportedUser[][] {
  const groups: ImportedUser[][] = [];
  let names = new Set<string>();
  for (const user of users) {
    const { username, email } = user.dto;
    const own = [username, email].flatMap((name) => (name === undefined ? [] : [loginKey(name) ?? name]));
    const last = groups.at(-1);
    if (last && last.length < AT_ONCE && !own.some((name) => names.has(name))) last.push(user);
    else {
      groups.push([user]);
      names = new Set();
    }
    own.forEach((name) => names.add(name));
  }
  return groups;
}
