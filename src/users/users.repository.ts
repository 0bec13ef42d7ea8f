import { Injectable } from '@nestjs/common';
import { violatedConstraint, violationDetail } from '../common/database-error.js';
import type { Role } from '../common/caller.js';
import { isId, loginKey, loginKeyPrefix } from '../common/names.js';
import { Problem } from '../common/problem.js';
import { Coalescer } from '../database/coalescer.js';
import { Database, OutOfDate, type Transaction } from '../database/database.js';
import { objectsExceeded } from '../platform/objects.js';
import { User, type UserStatus } from './user.entity.js';

/** Any numbers, the same in every process: the keys of the advisory locks on one account, and on who is an administrator. */
const [ACCOUNT_LOCK, ADMINS_LOCK] = [0x716d_7573, 0x716d_6170];

/** An account as it is read: without its password. */
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

/** Which quotas whoever charges an owner locks: those of gauges, and that of all APIs for every one of its calls. */
const IS_LOCK = `(key_id = '00000000-0000-0000-0000-000000000000' AND (meter = 'api:*' OR meter NOT LIKE 'api:%'))`;

/** What sign-in needs of an account. */
export interface Credentials {
  id: string;
  passwordHash: string;
  status: UserStatus;
}

/** How many of each an account had. */
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

  /** Newest first. @param before the id after which (in that order) the page begins */
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

  /** @throws Problem as `insert` does, and validation_failed when neither username nor e-mail would be left */
  async update(tx: Transaction, id: string, changes: UserChanges): Promise<void> {
    await refusing(() =>
      tx.manager.getRepository(User).update({ id }, { ...changes, ...keysOf(changes), updatedAt: () => 'now()' }),
    );
  }

  /**
   * Sets the limit on the gauge `tasks`. The table is quota's; this module, which quota is built on, writes this one
   * row of it, because credits are part of an account's own answer and must change in its transaction.
   */
  async setCredits(tx: Transaction, id: string, credits: number | null): Promise<void> {
    await tx.query(
      `INSERT INTO quotas AS q (owner_id, meter, limits) VALUES ($1, 'tasks', with_limit(NULL, 1, $2))
       ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET limits = with_limit(q.limits, 1, $2)`,
      [id, credits ?? -1],
    );
  }

  /**
   * Ends the sessions of a user, but for one. Their table is auth's; they end in the transaction that sets a password.
   * @returns how many
   */
  async endSessions(tx: Transaction, id: string, but: string | null): Promise<number> {
    const text = 'DELETE FROM sessions WHERE owner_id = $1 AND id IS DISTINCT FROM $2 RETURNING id';
    return (await tx.query(text, [id, but])).length;
  }

  /** Sets a password if it still is what it was when the old one was checked. */
  async replacePassword(tx: Transaction, id: string, from: string, to: string): Promise<boolean> {
    const rows = await tx.query(
      'UPDATE users SET password_hash = $3, updated_at = now() WHERE id = $1 AND password_hash = $2 RETURNING id',
      [id, from, to],
    );
    return rows.length > 0;
  }

  /** Locks an account until the transaction ends, and reads it. Comes before all other locks on what is the account's. */
  async lock(tx: Transaction, id: string): Promise<UserRow | null> {
    await takeTurn(tx, id);
    await tx.query('SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE', [id]);
    return this.find(tx, id);
  }

  /**
   * As `lock`, for who will `delete` it: whoever locks the account waits, but its row is left to those who only refer to
   * it. To lock it now, and against those as well later, would close a circle with whoever waits for it meanwhile.
   */
  async lockForDeletion(tx: Transaction, id: string): Promise<UserRow | null> {
    await takeTurn(tx, id);
    return this.find(tx, id);
  }

  async find(tx: Transaction, id: string): Promise<UserRow | null> {
    return (await tx.query<UserRow>(FIND_BY_IDS.text, [[id]]))[0] ?? null;
  }

  /**
   * The administrators that can sign in. Whoever would be one no longer asks before, and no two at once, until the
   * transaction ends. No row is locked: administrators would not get in while anyone leaves.
   */
  async lockActiveAdmins(tx: Transaction): Promise<string[]> {
    await tx.query('SELECT pg_advisory_xact_lock($1)', [ADMINS_LOCK]);
    const rows = await tx.query<{ id: string }>(`SELECT id FROM users WHERE role = 'admin' AND status = 'active'`);
    return rows.map((row) => row.id);
  }

  /**
   * Deletes an account with all it owns, after `lockForDeletion`. Its keys come first, as whoever changes one locks it
   * before what it may use; not against those that only refer to them. Then come its quotas and then the account, as whoever
   * charges locks the one, and its foreign key the other. The platform's come last: who is charged for the first time has
   * the account, and no quota, when it asks for them.
   * @returns what ended with it, by which somebody could act as this account; null where there is none
   * @throws OutOfDate when the account was charged on a meter for the first time meanwhile
   */
  async delete(tx: Transaction, id: string): Promise<Ended | null> {
    await tx.query('SELECT FROM api_keys WHERE owner_id = $1 ORDER BY id FOR NO KEY UPDATE', [id]);
    // In the order in which whoever charges locks them; the cascade would take them as they lie.
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

  /** Up to so many administrators, the eldest first. */
  async listAdmins(tx: Transaction, limit: number): Promise<UserRow[]> {
    return tx.query<UserRow>(`SELECT ${COLUMNS} FROM users u WHERE u.role = 'admin' ORDER BY u.id LIMIT $1`, [limit]);
  }

  private async findByIds(ids: readonly string[]): Promise<(UserRow | null)[]> {
    const rows = await this.database.query<UserRow>(FIND_BY_IDS, [ids]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id) ?? null);
  }
}

/** Has those who lock an account do so one after the other. Where two ids have one hash, the one only waits for the other. */
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
  if (name !== null && key === null) throw new Error('A name that no rule allows reached the database');
  return key;
}

/** What count_users says of the bound (see migration 0004): the limit, and what was used of it. */
function objectsOf(error: unknown): Problem {
  const [limit = 0, used = 0] = (violationDetail(error) ?? '').split(':').map(Number);
  return objectsExceeded(limit, used);
}

/** Names the rule of the database that refused a write. */
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
        throw Problem.field('/username', 'must not be null where there is no email');
      default:
        throw error;
    }
  }
}
