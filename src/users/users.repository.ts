import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, LessThan, type FindOptionsWhere, type Repository } from 'typeorm';
import { violatedConstraint, violationDetail } from '../common/database-error.js';
import { isId, loginKey, loginKeyPrefix } from '../common/names.js';
import { Problem } from '../common/problem.js';
import { Coalescer } from '../database/coalescer.js';
import { Database, OutOfDate, within, type Statement, type Transaction } from '../database/database.js';
import { OutboxRepository } from '../mail/outbox.repository.js';
import { objectsExceeded } from '../platform/objects.js';
import { AccountTokensRepository } from './account-tokens.repository.js';
import { User } from './user.entity.js';
import {
  CHARGE_USERS,
  COUNT_ENDED,
  DELETE_IDEMPOTENCY_KEYS,
  END_SESSIONS,
  FIND_LOCKING,
  LIST_PLANS,
  LOCK_FLOWS,
  LOCK_GAUGES,
  LOCK_KEYS,
  LOCK_PLATFORM_QUOTAS,
  RELEASE_USER,
  SET_CREDITS,
  findByIds,
  readAll,
} from './users.statements.js';

/** Keys of the advisory locks on one account and on the set of administrators. Arbitrary, the same in every process. */
const [ACCOUNT_LOCK, ADMINS_LOCK] = [0x716d_7573, 0x716d_6170];

/** An account as read, without its password hash. */
export type UserRow = Omit<User, 'passwordHash' | 'planEntity'>;

/** The data of an account that sign-in needs. */
export type Credentials = Pick<User, 'id' | 'passwordHash' | 'status'>;

const CREDENTIALS = { id: true, passwordHash: true, status: true } as const;

/** Which accounts to list. */
export interface UserFilter extends Partial<Pick<User, 'role' | 'status'>> {
  /** The start of a username or e-mail. */
  query: string | undefined;
  plan?: string;
}

/** How many of each a deleted account had. */
export interface Ended {
  sessions: number;
  keys: number;
  signingKeys: number;
}

export type NewUser = Pick<User, 'id' | 'passwordHash'> &
  Partial<Pick<User, 'username' | 'email' | 'firstName' | 'lastName' | 'role' | 'status' | 'plan'>>;

export type UserChanges = Partial<
  Pick<User, 'username' | 'email' | 'firstName' | 'lastName' | 'role' | 'status' | 'plan' | 'passwordHash'>
>;

@Injectable()
export class UsersRepository {
  private readonly byId: Coalescer<string, UserRow | null>;
  private readonly byIds: Statement;
  private readonly all: string;

  constructor(
    @InjectRepository(User) private readonly users: Repository<User>,
    private readonly tokens: AccountTokensRepository,
    private readonly outbox: OutboxRepository,
    private readonly database: Database,
  ) {
    this.byIds = findByIds(users);
    this.all = readAll(users);
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
    return key === null ? null : within(this.users, tx).findOneBy(isNamed(key));
  }

  async findCredentials(login: string): Promise<Credentials | null> {
    const key = loginKey(login);
    return key === null ? null : this.users.findOne({ select: CREDENTIALS, where: isNamed(key) });
  }

  findCredentialsById(id: string): Promise<Credentials | null> {
    return this.users.findOne({ select: CREDENTIALS, where: { id } });
  }

  hasAdmin(): Promise<boolean> {
    return this.users.existsBy({ role: 'admin' });
  }

  /** Lists accounts, newest first. @param before id of the last account of the previous page */
  async list({ query, ...equal }: UserFilter, before: string | null, limit: number): Promise<UserRow[]> {
    const page = { order: { id: 'DESC' }, take: limit } as const;
    const where = { ...equal, ...(before === null ? {} : { id: LessThan(before) }) };
    if (query === undefined) return this.users.find({ where, ...page });
    const key = loginKeyPrefix(query);
    if (key === null) return [];
    const pattern = `${key.replace(/[\\%_]/g, '\\$&')}%`;
    // Two index ranges instead of one OR, so that a prefix never scans the table.
    const isFound = `id IN (SELECT id FROM users WHERE username_key LIKE :pattern
      UNION SELECT id FROM users WHERE email_key LIKE :pattern)`;
    return this.users
      .createQueryBuilder('u')
      .setFindOptions({ where, ...page })
      .andWhere(`u.${isFound}`, { pattern })
      .getMany();
  }

  /** @throws Problem username_taken, email_taken; validation_failed for an unknown plan; quota_exceeded */
  async insert(tx: Transaction, ...users: readonly NewUser[]): Promise<void> {
    await refusing(async () => {
      await within(this.users, tx).insert(users.map((user) => ({ ...user, ...keysOf(user) })));
      await this.database.query(CHARGE_USERS, [users.length], tx);
    });
  }

  /** Returns those of the ids that accounts have. */
  async listExisting(ids: readonly string[]): Promise<string[]> {
    const found = await this.users.find({ select: { id: true }, where: { id: In(ids) } });
    return found.map(({ id }) => id);
  }

  /** Returns the keys (`loginKey`) of those names that accounts have. */
  async listTaken(names: readonly (string | undefined)[]): Promise<string[]> {
    const keys = names.flatMap((name) => (name === undefined ? [] : (loginKey(name) ?? [])));
    const select = { usernameKey: true, emailKey: true } as const;
    const found = await this.users.find({ select, where: [{ usernameKey: In(keys) }, { emailKey: In(keys) }] });
    return found.flatMap(({ usernameKey, emailKey }) => [usernameKey ?? [], emailKey ?? []].flat());
  }

  async listPlans(): Promise<string[]> {
    return (await this.database.query<{ slug: string }>(LIST_PLANS, [])).map(({ slug }) => slug);
  }

  /** Reads all accounts in one snapshot, oldest first. */
  stream(accountsATime: number): AsyncGenerator<UserRow[]> {
    return this.database.stream<UserRow>(`${this.all} ORDER BY u.id`, [], accountsATime);
  }

  /** @throws Problem like `insert`, and validation_failed when neither username nor e-mail would be left */
  async update(tx: Transaction, id: string, changes: UserChanges): Promise<void> {
    const { email, passwordHash } = changes;
    const before = email === undefined ? null : await this.find(tx, id);
    // Compares the address, not its folded form: look-alikes are different mailboxes.
    const isMoved = email !== undefined && email?.toLowerCase() !== before?.email?.toLowerCase();
    const unconfirmed = isMoved ? { emailConfirmedAt: null } : {};
    await refusing(() =>
      within(this.users, tx).update(
        { id },
        { ...changes, ...keysOf(changes), ...unconfirmed, updatedAt: () => 'now()' },
      ),
    );
    if (isMoved || passwordHash !== undefined) await this.voidTokens(tx, id, isMoved);
  }

  /** Sets the limit on the gauge `tasks`: credits are part of the account and must change in its transaction. */
  async setCredits(tx: Transaction, ...users: readonly { id: string; credits: number | null }[]): Promise<void> {
    const [ids, limits] = [users.map(({ id }) => id), users.map(({ credits }) => credits ?? -1)];
    if (users.length > 0) await this.database.query(SET_CREDITS, [ids, limits], tx);
  }

  /** Ends the sessions of a user, except one, in the transaction that sets a password. @returns how many */
  async endSessions(tx: Transaction, id: string, but: string | null): Promise<number> {
    return (await this.database.query(END_SESSIONS, [id, but], tx)).length;
  }

  /** Sets a password if the hash is still the one that the old password was checked against. */
  async replacePassword(tx: Transaction, id: string, from: string, to: string): Promise<boolean> {
    const changes = { passwordHash: to, updatedAt: () => 'now()' };
    const { affected } = await within(this.users, tx).update({ id, passwordHash: from }, changes);
    if (affected !== 1) return false;
    await this.voidTokens(tx, id, false);
    return true;
  }

  /**
   * Locks an account until the transaction ends, and reads it. Take this lock before any other on data of the account.
   */
  async lock(tx: Transaction, id: string): Promise<UserRow | null> {
    await this.database.lock(tx, ACCOUNT_LOCK, { name: id });
    const lock = { mode: 'for_no_key_update' } as const;
    await within(this.users, tx).findOne({ select: { id: true }, where: { id }, lock });
    // Read in a new statement, which sees changes committed during the wait.
    return this.find(tx, id);
  }

  /**
   * Like `lock`, for a transaction that will `delete` the account. Others that lock the account wait, but foreign keys
   * can still refer to the row. Locking the row now and upgrading the lock later would deadlock with a transaction that
   * waits for it.
   */
  async lockForDeletion(tx: Transaction, id: string): Promise<UserRow | null> {
    await this.database.lock(tx, ACCOUNT_LOCK, { name: id });
    return this.find(tx, id);
  }

  find(tx: Transaction, id: string): Promise<UserRow | null> {
    return within(this.users, tx).findOneBy({ id });
  }

  /**
   * Returns the administrators that can sign in. A transaction that removes an administrator calls this first; only one
   * at a time proceeds until it ends. Locks no row, because that would block sign-ins of administrators.
   */
  async lockActiveAdmins(tx: Transaction): Promise<string[]> {
    await this.database.lock(tx, ADMINS_LOCK);
    const where = { role: 'admin', status: 'active' } as const;
    const admins = await within(this.users, tx).find({ select: { id: true }, where });
    return admins.map(({ id }) => id);
  }

  /**
   * Deletes an account and all it owns, after `lockForDeletion`. Lock order: first the API keys, because a change of a
   * key locks it before the flows it uses; foreign keys can still refer to the keys. Then the gauges, the flows and then
   * the account, because a charge locks a gauge or a flow, and its foreign key the account. The platform's quotas come
   * last: the first charge on a meter holds the account, and no gauge or flow, when it locks them.
   * @returns how many sessions and keys ended; null if there is no account
   * @throws OutOfDate if the account was charged on a meter for the first time in the meantime
   */
  async delete(tx: Transaction, id: string): Promise<Ended | null> {
    const users = within(this.users, tx);
    await this.database.query(LOCK_KEYS, [id], tx);
    const gauges = await this.database.query(LOCK_GAUGES, [id], tx);
    const flows = await this.database.query<{ isLock: boolean }>(LOCK_FLOWS, [id], tx);
    await users.findOne({ select: { id: true }, where: { id }, lock: { mode: 'pessimistic_write' } });
    const locking = await this.database.query(FIND_LOCKING, [id], tx);
    if (locking.length > gauges.length + flows.filter(({ isLock }) => isLock).length) throw new OutOfDate();
    await this.database.query(LOCK_PLATFORM_QUOTAS, [], tx);
    await this.database.query(RELEASE_USER, [id], tx);
    await this.database.query(DELETE_IDEMPOTENCY_KEYS, [id], tx);
    const [ended] = await this.database.query<Ended & object>(COUNT_ENDED, [id], tx);
    const { affected } = await users.delete({ id });
    return affected === 1 ? (ended ?? null) : null;
  }

  /** Returns up to `limit` administrators, oldest first. */
  listAdmins(tx: Transaction, limit: number): Promise<UserRow[]> {
    return within(this.users, tx).find({ where: { role: 'admin' }, order: { id: 'ASC' }, take: limit });
  }

  /** Voids the tokens that reset the password, and with a new address also those that confirm it, with their e-mails. */
  private async voidTokens(tx: Transaction, id: string, isMoved: boolean): Promise<void> {
    const kinds = isMoved ? (['reset', 'confirm'] as const) : (['reset'] as const);
    await this.tokens.voidAll(tx, id, ['link', ...kinds]);
    await this.outbox.deleteKinds(tx, id, kinds);
  }

  private async findByIds(ids: readonly string[]): Promise<(UserRow | null)[]> {
    const rows = await this.database.query<UserRow>(this.byIds, [ids]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id) ?? null);
  }
}

/** The condition for the account with a username or e-mail. @param key from `loginKey` */
function isNamed(key: string): FindOptionsWhere<User>[] {
  return [{ usernameKey: key }, { emailKey: key }];
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

/** Reads the limit and the usage from the error of charge_users. */
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
