import { Injectable } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import { loginKey } from '../common/names.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { Actor } from '../http/caller/caller.js';
import { turnOf } from '../passwords/hash-queue.js';
import { Passwords } from '../passwords/passwords.js';
import { CreditBound } from '../platform/credit-bound.js';
import type { ImportUserDto } from './import-user.dto.js';
import { UsersRepository, type NewUser } from './users.repository.js';
import { AUDITED_FIELDS } from './users.service.js';

/** A valid account of an import, with the id that it will have. */
export interface ImportedUser {
  id: string;
  dto: ImportUserDto;
}

interface Account {
  user: NewUser;
  credits: number | null | undefined;
}

/** Passwords that are hashed at once: they wait in the queue of all hashes, which is bounded. */
const HASHES_AT_ONCE = 32;

/** Creates many accounts with few transactions, by the rules of `POST /v1/users`. */
@Injectable()
export class UserImport {
  constructor(
    private readonly database: Database,
    private readonly users: UsersRepository,
    private readonly passwords: Passwords,
    private readonly credits: CreditBound,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Creates the accounts that do not exist, in their order. Each is created as a whole, with its entry of the audit log.
   * @returns for each account why it was rejected; null: it was created, or its id existed already
   */
  async createAll(users: readonly ImportedUser[], actor: Actor): Promise<(Problem | null)[]> {
    const existing = new Set(await this.users.listExisting(users.map(({ id }) => id)));
    const missing = users.filter(({ id }) => !existing.has(id));
    const accounts: Account[] = [];
    for (let at = 0; at < missing.length; at += HASHES_AT_ONCE) {
      const some = missing.slice(at, at + HASHES_AT_ONCE);
      accounts.push(...(await Promise.all(some.map((user) => this.toAccount(user)))));
    }
    const rejected = new Map(await this.insert(accounts, actor));
    return users.map(({ id }) => rejected.get(id) ?? null);
  }

  /**
   * Checks which accounts `createAll` would reject. Does not check the limits of the platform.
   * @param seen the names of earlier calls, which later ones may not repeat
   */
  async checkAll(users: readonly ImportedUser[], seen: Set<string>): Promise<(Problem | null)[]> {
    const taken = new Set(await this.users.listTaken(users.flatMap(({ dto }) => [dto.username, dto.email])));
    const isFree = (name: string | undefined): boolean => {
      const key = name === undefined ? null : loginKey(name);
      if (key === null) return true;
      return !taken.has(key) && !seen.has(key) && seen.add(key).has(key);
    };
    const plans = new Set(await this.users.listPlans());
    return users.map(({ dto: { username, email, plan } }) => {
      if (!isFree(username)) return new Problem('username_taken');
      if (!isFree(email)) return new Problem('email_taken');
      return plan === undefined || plan === null || plans.has(plan)
        ? null
        : Problem.field('/plan', 'is not the slug of a plan');
    });
  }

  private async toAccount({ id, dto }: ImportedUser): Promise<Account> {
    const { password, passwordHash, credits, ...user } = dto;
    const hash = password === undefined ? passwordHash : await this.passwords.hash(password, turnOf(null, true));
    return { user: { ...user, id, passwordHash: hash ?? this.passwords.hashOfNone() }, credits };
  }

  /**
   * Inserts accounts in one transaction. If an account is rejected, inserts both halves separately, until the rejected
   * accounts are alone.
   */
  private async insert(accounts: readonly Account[], actor: Actor): Promise<[id: string, reason: Problem][]> {
    const [first] = accounts;
    if (!first) return [];
    try {
      const scope = { ownerId: accounts.map(({ user }) => user.id) };
      await this.database.transaction((tx) =>
        this.credits.guard(tx, scope, ({ defaultPlan }) => this.write(tx, accounts, defaultPlan, actor)),
      );
      return [];
    } catch (error) {
      if (!(error instanceof Problem) || error.status >= 500) throw error;
      if (accounts.length === 1) return [[first.user.id, error]];
      const middle = Math.ceil(accounts.length / 2);
      const rejected = await this.insert(accounts.slice(0, middle), actor);
      return [...rejected, ...(await this.insert(accounts.slice(middle), actor))];
    }
  }

  private async write(
    tx: Transaction,
    accounts: readonly Account[],
    defaultPlan: string | null,
    actor: Actor,
  ): Promise<void> {
    const users = accounts.map(({ user: { plan = defaultPlan, role = 'user', status = 'active', ...user } }) => ({
      ...user,
      ...{ plan, role, status },
    }));
    await this.users.insert(tx, ...users);
    const limits = accounts.flatMap(({ user, credits }) => (credits === undefined ? [] : [{ id: user.id, credits }]));
    await this.users.setCredits(tx, ...limits);
    const entries = users.map((user, i) => {
      const told = { ...user, credits: accounts[i]?.credits ?? null };
      return { target: user.id, changes: changesOf(null, told, AUDITED_FIELDS) };
    });
    await this.audit.recordAll(tx, actor, 'user.create', entries);
  }
}
