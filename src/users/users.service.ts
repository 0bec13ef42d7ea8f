import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf, differs, type Changes } from '../audit/changes.js';
import { isSelf, type Actor, type Caller, type Origin } from '../http/caller/caller.js';
import { requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem, required } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { CreditBound } from '../platform/credit-bound.js';
import { PlatformRepository, type SettingsRow } from '../platform/platform.repository.js';
import { PlatformService } from '../platform/platform.service.js';
import { Notices } from './notices.js';
import { turnOf } from '../passwords/hash-queue.js';
import { Passwords } from '../passwords/passwords.js';
import {
  toUserResponse,
  type AccountDto,
  type CreateUserDto,
  type ListUsersQuery,
  type UpdateUserDto,
} from './user.dto.js';
import { UsersRepository, type UserChanges, type UserRow } from './users.repository.js';

/** The fields of an account that the audit log records. */
const FIELDS = [
  ...(['username', 'email', 'firstName', 'lastName'] as const),
  ...(['role', 'status', 'plan', 'credits'] as const),
] as const;

/** Manages accounts. Each change is one transaction, which also records who makes it. */
@Injectable()
export class UsersService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersRepository,
    private readonly passwords: Passwords,
    private readonly cursors: Cursors,
    private readonly platform: PlatformService,
    private readonly settings: PlatformRepository,
    private readonly credits: CreditBound,
    private readonly audit: AuditLog,
    private readonly notices: Notices,
  ) {}

  /**
   * @throws Problem validation_failed, username_taken, email_taken; quota_exceeded at the platform's limit of objects;
   * credits_overprovisioned
   */
  async create(dto: CreateUserDto, caller: Caller, transaction?: Transaction): Promise<UserRow> {
    return this.make(dto, caller, false, transaction);
  }

  /**
   * Creates an account for a client that is not signed in.
   * @throws Problem like `create`; forbidden when registration is closed
   */
  async register(dto: AccountDto, origin: Origin, transaction?: Transaction): Promise<UserRow> {
    // Checked before the expensive hash, and again in the transaction.
    this.refuseClosed(await this.settings.get(transaction));
    return this.make(dto, { userId: null, origin }, true, transaction);
  }

  /** @param reference id, username, email or `me` */
  async get(reference: string, caller: Caller): Promise<UserRow> {
    return required(
      await (isSelf(reference, caller) ? this.users.findById(caller.userId) : this.users.findByReference(reference)),
    );
  }

  /**
   * Returns the id of the user that `{user}` or `owner` names.
   * @throws Problem forbidden if the caller may not act for another user, whether or not that user exists; not_found
   */
  async idOf(reference: string, caller: Caller, tx?: Transaction): Promise<string> {
    if (isSelf(reference, caller)) return caller.userId;
    if (caller.role !== 'admin') throw new Problem('forbidden');
    return required(await this.users.findByReference(reference, tx)).id;
  }

  /** Serializes changes of an account until the transaction ends. @throws Problem not_found */
  async lock(tx: Transaction, id: string): Promise<void> {
    required(await this.users.lock(tx, id));
  }

  /** Returns the owner that `?owner=` selects, or null for all owners. @throws Problem like `idOf` */
  async ownerOf(owner: string | undefined, caller: Caller): Promise<string | null> {
    if (owner === undefined) return caller.userId;
    if (owner !== '*') return this.idOf(owner, caller);
    if (caller.role !== 'admin') throw new Problem('forbidden');
    return null;
  }

  async list(query: ListUsersQuery): Promise<Page<UserRow>> {
    const { role, status, plan } = query;
    const list = `users?${JSON.stringify([query.query, role, status, plan])}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const filter = { query: query.query, ...(role && { role }), ...(status && { status }), ...(plan && { plan }) };
    const rows = await this.users.list(filter, before, query.limit + 1);
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /**
   * @throws Problem forbidden when a user sets a field that only administrators may set; version_mismatch; last_admin;
   * username_taken, email_taken; credits_overprovisioned
   */
  async update(reference: string, caller: Caller, dto: UpdateUserDto, preconditions: Preconditions): Promise<UserRow> {
    refuseReserved(dto, ['role', 'status', 'plan', 'credits', 'password'], caller);
    const id = await this.idOf(reference, caller);
    const { password, credits, ...account } = dto;
    const changes: UserChanges = account;
    if (password !== undefined) {
      changes.passwordHash = await this.passwords.hashNew(password, '/password', turnOf(caller.origin, true));
    }
    const change = async (tx: Transaction): Promise<UserRow> => {
      const before = required(await this.users.lock(tx, id));
      requireVersion(preconditions, toUserResponse(before));
      if (dto.role === 'user' || dto.status === 'disabled') await this.refuseLastAdmin(tx, before);
      const addressee = await this.notices.beforeUpdate(tx, id);
      if (password !== undefined || differs(before, { ...account, credits })) await this.users.update(tx, id, changes);
      if (credits !== undefined) await this.users.setCredits(tx, id, credits);
      const secret: Changes = {};
      if (password !== undefined) {
        secret.password = {};
        secret.endedSessions = { to: await this.users.endSessions(tx, id, caller.sessionId) };
      }
      const after = required(await this.users.find(tx, id));
      await this.notices.updated(tx, addressee, after, password !== undefined);
      const changed = { ...changesOf(before, after, FIELDS), ...secret };
      await this.audit.recordIfChanged(tx, caller, 'user.update', id, changed);
      return after;
    };
    const changesCredits = dto.plan !== undefined || credits !== undefined;
    return this.database.transaction((tx) =>
      changesCredits ? this.credits.guard(tx, { ownerId: id }, () => change(tx)) : change(tx),
    );
  }

  /** @throws Problem not_found, version_mismatch, last_admin */
  async delete(reference: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    const id = await this.idOf(reference, caller);
    await this.database.transaction((tx) =>
      this.credits.guard(tx, { ownerId: id }, async () => {
        const user = required(await this.users.lockForDeletion(tx, id));
        requireVersion(preconditions, toUserResponse(user));
        await this.refuseLastAdmin(tx, user);
        const ended = await this.users.delete(tx, id);
        if (!ended) throw new Problem('not_found');
        const changes = {
          ...changesOf(user, null, FIELDS),
          ...{ endedSessions: { to: ended.sessions }, endedKeys: { to: ended.keys } },
          endedSigningKeys: { to: ended.signingKeys },
        };
        await this.audit.record(tx, caller, 'user.delete', id, changes);
      }),
    );
  }

  private async make(
    dto: CreateUserDto,
    actor: Actor,
    isRegistration: boolean,
    transaction?: Transaction,
  ): Promise<UserRow> {
    if (dto.username === undefined && dto.email === undefined) {
      throw Problem.field('/username', 'is required if there is no email');
    }
    const { password, credits, ...account } = dto;
    const id = uuidv7();
    const turn = turnOf(actor.origin, !isRegistration);
    const passwordHash = await this.passwords.hashNew(password, '/password', turn);
    return this.database.within(transaction, (tx) =>
      this.credits.guard(tx, { ownerId: id }, async (settings) => {
        if (isRegistration) this.refuseClosed(settings);
        const { plan = settings.defaultPlan } = account;
        await this.users.insert(tx, { ...account, plan, id, passwordHash });
        if (credits !== undefined) await this.users.setCredits(tx, id, credits);
        const user = required(await this.users.find(tx, id));
        if (isRegistration) await this.notices.registered(tx, user);
        // The new user is recorded as the actor of a registration.
        const by = { userId: actor.userId ?? id, origin: actor.origin };
        await this.audit.record(tx, by, 'user.create', id, changesOf(null, user, FIELDS));
        return user;
      }),
    );
  }

  /** @param leaving locked, so that neither its role nor its status can change in the meantime */
  private async refuseLastAdmin(tx: Transaction, leaving: UserRow): Promise<void> {
    if (leaving.role !== 'admin' || leaving.status !== 'active') return;
    const admins = await this.users.lockActiveAdmins(tx);
    if (admins.length === 1 && admins[0] === leaving.id) throw new Problem('last_admin');
  }

  private refuseClosed(settings: SettingsRow): void {
    if (!this.platform.isOpen(settings)) throw new Problem('forbidden', { detail: 'Registration is closed.' });
  }
}

function refuseReserved<T extends object>(dto: T, fields: (keyof T & string)[], caller: Caller): void {
  const reserved = fields.filter((field) => dto[field] !== undefined);
  if (caller.role === 'admin' || reserved.length === 0) return;
  throw new Problem('forbidden', { detail: `Only administrators can set ${reserved.join(', ')}.` });
}
