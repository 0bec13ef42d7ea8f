import { Injectable } from '@nestjs/common';
import { violatedConstraint, violationDetail } from '../common/database-error.js';
import type { Role } from '../common/caller.js';
import { isId, loginKey, loginKeyPrefix } from '../common/names.js';
import { Problem } from '../common/problem.js';
import { Coalescer } from '../database/coalescer.js';
import { Database, OutOfDate, type Transaction } from '../database/database.js';
import { objectsExceeded } from '../platform/objects.js';
import { User, type UserStatus } from './user.entity.js';

/** Keys of the advisory locks on one account and on the set of administrators. Arbitrary, the same in every process. */
const [ACCOUNT_LOCK, ADMINS_LOCK] = [0x716d_7573, 0x716d_6170];

/** An account as read, without its password hash. */
export interface UserRow {
  id: string;
  username: string | null;
  email: string | null;
  firstName: string | null;
  lastName: string | null;
  role: Role;
  status: UserStatus;
  plan: string | null;
  credits: number | null;
  createdAt: Date;
  updatedAt: Date;
  lastLoginAt: Date | null;
}

/** Quota rows that a charge locks: those of gauges and, for every API call, that of all APIs. */
const IS_LOCK = `(key_id = '00000000-0000-0000-0000-000000000000' AND (meter = 'api:*' OR meter NOT LIKE 'api:%'))`;

/** The data of an account that sign-in needs. */
export interface Credentials {
  id: string;
  passwordHash: string;
  status: UserStatus;
}

/** How many of each a deleted account had. */
export interface Ended {
  sessions: number;
  keys: number;
  signingKeys: number;
}

export type NewUser = Pick<User, 'id' | 'passwordHash'> &
  Partial<Pick<User, 'username' | 'email' | 'firstName' | 'lastName' | 'role' | 'plan'>>;

export type UserChanges = Partial<
  Pick<User, 'username' | 'email' | 'firstName' | 'lastName' | 'role' | 'status' | 'plan' | 'passwordHash'>
>;

/** A user's credits are its limit on the gauge `tasks` (see quota/). */
const COLUMNS = `
  u.id, u.username, u.email, u.first_name AS "firstName", u.last_name AS "lastName", u.role, u.status, u.plan,
  (SELECT nullif(q.limits[1], -1) FROM quotas q
    WHERE q.owner_id = u.id AND q.key_id = '00000000-0000-0000-0000-000000000000' AND q.meter = 'tasks') AS credits,
  u.created_at AS "createdAt", u.updated_at AS "updatedAt", u.last_login_at AS "lastLoginAt"`;

const FIND_BY_IDS = {
  name: 'users-by-ids',
  text: `SELECT ${COLUMNS} FROM users u WHERE u.id = ANY($1::uuid[])`,
};

const FIND_BY_KEY = {
  name: 'user-by-key',
  text: `SELECT ${COLUMNS} FROM users u WHERE u.username_key = $1 OR u.email_key = $1`,
};

const FIND_CREDENTIALS = {
  name: 'user-credentials',
  text: `SELECT id, password_hash AS "passwordHash", status FROM users WHERE username_key = $1 OR email_key = $1`,
};

const FIND_CREDENTIALS_BY_ID = {
  name: 'user-credentials-by-id',
  text: `SELECT id, password_hash AS "passwordHash", status FROM users WHERE id = $1`,
};

const LIST = {
  name: 'users-list',
  text: `SELECT ${COLUMNS} FROM users u
    WHERE ($1::uuid IS NULL OR u.id < $1) ORDER BY u.id DESC LIMIT $2`,
};

/** Two index ranges instead of one OR, so that a prefix never scans the table. */
const LIST_BY_PREFIX = {
  name: 'users-list-by-prefix',
  text: `SELECT ${COLUMNS} FROM users u WHERE u.id IN (
      SELECT id FROM users WHERE username_key LIKE $3 UNION SELECT id FROM users WHERE email_key LIKE $3)
    AND ($1::uuid IS NULL OR u.id < $1) ORDER BY u.id DESC LIMIT $2`,
};

@Injectable()
export class UsersRepository {
  private readonly byId: Coalescer<string, UserRow | null>;

  constructor(private readonly database: Database) {
    this.byId = new Coalescer((ids) => this.findByIds(ids), {
      name: 'users',
      key: (id) => id,
      readOnly: true,
    });
  }

  findById(id: string): Promise<UserRow | null> {
    return this.byId.add(id);
  }

  /** @param reference an id, a username or an e-mail */
  async findByReference(reference: string, tx?: Transaction): Promise<UserRow | null> {
    if (isId(reference)) {
      const id = reference.toLowerCase();
      return tx ? this.find(tx, id) : this.findById(id);
    }
    const key = loginKey(reference);
    if (key === null) return null;
    const rows = await (tx
      ? tx.query<UserRow>(FIND_BY_KEY.text, [key])
      : this.database.query<UserRow>(FIND_BY_KEY, [key]));
    return rows[0] ?? null;
  }

  async findCredentials(login: string): Promise<Credentials | null> {
    const key = loginKey(login);
    return key === null ? null : ((await this.database.query<Credentials>(FIND_CREDENTIALS, [key]))[0] ?? null);
  }

  async findCredentialsById(id: string): Promise<Credentials | null> {
    return (await this.database.query<Credentials>(FIND_CREDENTIALS_BY_ID, [id]))[0] ?? null;
  }

  /** Lists accounts, newest first. @param before id of the last account of the previous page */
  async list(prefix: string | undefined, before: string | null, limit: number): Promise<UserRow[]> {
    if (prefix === undefined) return this.database.query<UserRow>(LIST, [before, limit]);
    const key = loginKeyPrefix(prefix);
    if (key === null) return [];
    const pattern = `${key.replace(/[\\%_]/g, '\\$&')}%`;
    return this.database.query<UserRow>(LIST_BY_PREFIX, [before, limit, pattern]);
  }

  /** @throws Problem username_taken, email_taken; validation_failed for an unknown plan; quota_exceeded */
  async insert(tx: Transaction, user: NewUser): Promise<void> {
    await refusing(() => tx.manager.getRepository(User).insert({ ...user, ...keysOf(user) }));
  }

  /** @throws Problem like `insert`, and validation_failed when neither username nor e-mail would be left */
  async update(tx: Transaction, id: string, changes: UserChanges): Promise<void> {
    await refusing(() =>
      tx.manager.getRepository(User).update({ id }, { ...changes, ...keysOf(changes), updatedAt: () => 'now()' }),
    );
  }

  /**
   * Sets the limit on the gauge `tasks`. The table belongs to the quota module, which depends on this module. This one
   * row is written here, because credits are part of the account and must change in its transaction.
   */
  async setCredits(tx: Transaction, id: string, credits: number | null): Promise<void> {
    await tx.query(
      `INSERT INTO quotas AS q (owner_id, meter, limits) VALUES ($1, 'tasks', with_limit(NULL, 1, $2))
       ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET limits = with_limit(q.limits, 1, $2)`,
      [id, credits ?? -1],
    );
  }

  /**
   * Ends the sessions of a user, except one. The table belongs to the auth module; the sessions end in the transaction
   * that sets a password.
   * @returns how many
   */
  async endSessions(tx: Transaction, id: string, but: string | null): Promise<number> {
    const text = 'DELETE FROM sessions WHERE owner_id = $1 AND id IS DISTINCT FROM $2 RETURNING id';
    return (await tx.query(text, [id, but])).length;
  }

  /** Sets a password if the hash is still the one that the old password was checked against. */
  async replacePassword(tx: Transaction, id: string, from: string, to: string): Promise<boolean> {
    const rows = await tx.query(
      'UPDATE users SET password_hash = $3, updated_at = now() WHERE id = $1 AND password_hash = $2 RETURNING id',
      [id, from, to],
    );
    return rows.length > 0;
  }

  /**
   * Locks an account until the transaction ends, and reads it. Take this lock before any other on data of the account.
   */
  async lock(tx: Transaction, id: string): Promise<UserRow | null> {
    await takeTurn(tx, id);
    await tx.query('SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE', [id]);
    return this.find(tx, id);
  }

  /**
   * Like `lock`, for a transaction that will `delete` the account. Others that lock the account wait, but foreign keys
   * can still refer to the row. Locking the row now and upgrading the lock later would deadlock with a transaction that
   * waits for it.
   */
  async lockForDeletion(tx: Transaction, id: string): Promise<UserRow | null> {
    await takeTurn(tx, id);
    return this.find(tx, id);
  }

  async find(tx: Transaction, id: string): Promise<UserRow | null> {
    return (await tx.query<UserRow>(FIND_BY_IDS.text, [[id]]))[0] ?? null;
  }

  /**
   * Returns the administrators that can sign in. A transaction that removes an administrator calls this first; only one
   * at a time proceeds until it ends. Locks no row, because that would block sign-ins of administrators.
   */
  async lockActiveAdmins(tx: Transaction): Promise<string[]> {
    await tx.query('SELECT pg_advisory_xact_lock($1)', [ADMINS_LOCK]);
    const rows = await tx.query<{ id: string }>(`SELECT id FROM users WHERE role = 'admin' AND status = 'active'`);
    return rows.map((row) => row.id);
  }

  /**
   * Deletes an account and all it owns, after `lockForDeletion`. Lock order: first the API keys, because a change of a
   * key locks it before the quotas it uses; foreign keys can still refer to the keys. Then the quotas and then the
   * account, because a charge locks a quota, and its foreign key the account. The platform's quotas come last: the
   * first charge on a meter holds the account, and no quota, when it locks them.
   * @returns how many sessions and keys ended; null if there is no account
   * @throws OutOfDate if the account was charged on a meter for the first time in the meantime
   */
  async delete(tx: Transaction, id: string): Promise<Ended | null> {
    await tx.query('SELECT FROM api_keys WHERE owner_id = $1 ORDER BY id FOR NO KEY UPDATE', [id]);
    // Uses the lock order of a charge. The cascade would lock them in physical order.
    const locked = await tx.query<{ isLock: boolean }>(
      `SELECT ${IS_LOCK} AS "isLock" FROM quotas WHERE owner_id = $1 ORDER BY key_id, meter FOR UPDATE`,
      [id],
    );
    await tx.query('SELECT FROM users WHERE id = $1 FOR UPDATE', [id]);
    const locks = await tx.query(`SELECT FROM quotas WHERE owner_id = $1 AND ${IS_LOCK}`, [id]);
    if (locks.length > locked.filter(({ isLock }) => isLock).length) throw new OutOfDate();
    await tx.query(`SELECT FROM platform_quotas WHERE meter NOT LIKE 'api:%' ORDER BY meter FOR UPDATE`);
    await tx.query('DELETE FROM idempotency_keys WHERE owner_id = $1', [id]);
    const [ended] = await tx.query<Ended>(
      `SELECT (SELECT count(*)::integer FROM sessions WHERE owner_id = $1) AS sessions,
        (SELECT count(*)::integer FROM api_keys WHERE owner_id = $1) AS keys,
        (SELECT count(*)::integer FROM request_keys WHERE owner_id = $1) AS "signingKeys"`,
      [id],
    );
    const deleted = await tx.query('DELETE FROM users WHERE id = $1 RETURNING id', [id]);
    return deleted.length > 0 ? (ended ?? null) : null;
  }

  /** Returns up to `limit` administrators, oldest first. */
  async listAdmins(tx: Transaction, limit: number): Promise<UserRow[]> {
    return tx.query<UserRow>(`SELECT ${COLUMNS} FROM users u WHERE u.role = 'admin' ORDER BY u.id LIMIT $1`, [limit]);
  }

  private async findByIds(ids: readonly string[]): Promise<(UserRow | null)[]> {
    const rows = await this.database.query<UserRow>(FIND_BY_IDS, [ids]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id) ?? null);
  }
}

/** Serializes transactions that lock an account. Two ids with the same hash only wait for each other. */
async function takeTurn(tx: Transaction, id: string): Promise<void> {
  await tx.query('SELECT pg_advisory_xact_lock($1, hashtext($2::text))', [ACCOUNT_LOCK, id]);
}

function keysOf({ username, email }: UserChanges | NewUser): Partial<Pick<User, 'usernameKey' | 'emailKey'>> {
  return {
    ...(username === undefined ? {} : { usernameKey: keyOf(username) }),
    ...(email === undefined ? {} : { emailKey: keyOf(email) }),
  };
}

function keyOf(name: string | null): string | null {
  const key = name === null ? null : loginKey(name);
  if (name !== null && key === null) throw new Error('An invalid username or e-mail reached the database');
  return key;
}

/** Reads the limit and the usage from the error of count_users (see migration 0004). */
function objectsOf(error: unknown): Problem {
  const [limit = 0, used = 0] = (violationDetail(error) ?? '').split(':').map(Number);
  return objectsExceeded(limit, used);
}

/** Turns the name of a violated constraint into a problem code. */
async function refusing(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (error) {
    switch (violatedConstraint(error)) {
      case 'users_username_key_unique':
        throw new Problem('username_taken');
      case 'users_email_key_unique':
        throw new Problem('email_taken');
      case 'users_plan_fkey':
        throw Problem.field('/plan', 'is not the slug of a plan');
      case 'platform_objects':
        throw objectsOf(error);
      case 'users_login_check':
        throw Problem.field('/username', 'must not be null if there is no email');
      default:
        throw error;
    }
  }
}
