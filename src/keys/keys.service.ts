import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf, differs } from '../audit/changes.js';
import { reach, type Actor, type Caller } from '../http/caller/caller.js';
import { isConditional, requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem, required } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { isFlow } from '../quota/meters.js';
import type { QuotaResponse, SetQuotaDto, WindowQuery } from '../quota/quota.dto.js';
import { QuotaRepository } from '../quota/quota.repository.js';
import { QuotaService, toQuotaResponses, windowOf } from '../quota/quota.service.js';
import { UsersService } from '../users/users.service.js';
import { hashApiKey, hintOf, makeApiKey } from './api-key-format.js';
import {
  toKeyResponse,
  type CreateKeyDto,
  type ListKeysQuery,
  type RotateKeyDto,
  type UpdateKeyDto,
} from './key.dto.js';
import { KeysRepository, type KeyReference, type KeyRow } from './keys.repository.js';

/** A key with its limits and the time of its last call. */
export interface KeyState {
  key: KeyRow;
  limits: QuotaResponse[];
  lastUsedAt: Date | null;
}

/** A key with its secret, which is not stored. */
export interface IssuedKey extends KeyState {
  secret: string;
}

const FIELDS = ['ownerId', 'name', 'hint', 'scopes', 'disabled', 'expiresAt'] as const;

/** API keys. Users create keys for themselves, administrators for any user. */
@Injectable()
export class KeysService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly keys: KeysRepository,
    private readonly quota: QuotaService,
    private readonly quotas: QuotaRepository,
    private readonly cursors: Cursors,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem forbidden, not_found for a disallowed or unknown owner; validation_failed for invalid limits */
  async create(dto: CreateKeyDto, caller: Caller, transaction?: Transaction): Promise<IssuedKey> {
    const ownerId = dto.owner === undefined ? caller.userId : await this.users.idOf(dto.owner, caller, transaction);
    return this.createFor(ownerId, dto, caller, transaction);
  }

  /** @throws Problem not_found if the owner was deleted; validation_failed for invalid limits */
  async createFor(
    ownerId: string,
    dto: Omit<CreateKeyDto, 'owner'>,
    actor: Actor,
    transaction?: Transaction,
  ): Promise<IssuedKey> {
    const limits = dto.limits ?? [];
    await this.quota.checkAll(limits, true, transaction);
    const secret = makeApiKey();
    const { name, scopes } = dto;
    const key = { id: uuidv7(), ownerId, name, hint: hintOf(secret), scopes, expiresAt: toDate(dto.expiresAt ?? null) };
    const made = await this.database.within(transaction, async (tx) => {
      // Lock order: quotas first, then the user row, which the foreign key of the new key locks. Deleting a user uses
      // the
      // same order.
      await this.quotas.openCalls(tx, ownerId);
      if (limits.length > 0) await this.quotas.lockCalls(tx, ownerId);
      await this.keys.insert(tx, key, hashOf(secret));
      await this.quota.setAll(tx, { ownerId, keyId: key.id }, limits);
      const row = required(await this.keys.find(key, tx));
      const told = { ...row, limits: limits.length > 0 ? limits : null };
      await this.audit.record(tx, actor, 'key.create', key.id, changesOf(null, told, [...FIELDS, 'limits']));
      return this.stateOf(row, tx);
    });
    return { ...made, secret };
  }

  async list(query: ListKeysQuery, caller: Caller): Promise<Page<KeyState>> {
    const ownerId = await this.users.ownerOf(query.owner, caller);
    const list = `keys?owner=${ownerId ?? '*'}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.keys.list(ownerId, before, query.limit + 1);
    const page = this.cursors.page(list, rows, query.limit, (row) => row.id);
    return { ...page, data: await this.statesOf(page.data) };
  }

  /** @throws Problem not_found, also for another user's key */
  async get(id: string, caller: Caller): Promise<KeyState> {
    return this.stateOf(required(await this.keys.find(reference(id, caller))));
  }

  /** @throws Problem not_found, also for another user's key; version_mismatch */
  async update(id: string, dto: UpdateKeyDto, caller: Caller, preconditions: Preconditions): Promise<KeyState> {
    return this.database.transaction(async (tx) => {
      const before = required(await this.keys.lock(tx, reference(id, caller)));
      await this.requireVersion(tx, preconditions, before);
      const { expiresAt, ...others } = dto;
      const changes = expiresAt === undefined ? others : { ...others, expiresAt: toDate(expiresAt) };
      if (differs(before, changes)) await this.keys.update(tx, id, changes);
      const after = required(await this.keys.lock(tx, { ownerId: null, id }));
      await this.audit.recordIfChanged(tx, caller, 'key.update', id, changesOf(before, after, FIELDS));
      return this.stateOf(after, tx);
    });
  }

  /** Replaces the secret of a key. The key keeps its id, limits and counts. @throws Problem not_found */
  async rotate(
    id: string,
    { graceSeconds = 0 }: RotateKeyDto,
    caller: Caller,
    transaction?: Transaction,
  ): Promise<IssuedKey> {
    const secret = makeApiKey();
    const rotated = await this.database.within(transaction, async (tx) => {
      required(await this.keys.lock(tx, reference(id, caller)));
      await this.keys.rotate(tx, id, hashOf(secret), hintOf(secret), graceSeconds);
      await this.audit.record(tx, caller, 'key.rotate', id, { secret: {}, graceSeconds: { to: graceSeconds } });
      return this.stateOf(required(await this.keys.lock(tx, { ownerId: null, id })), tx);
    });
    return { ...rotated, secret };
  }

  /** @throws Problem not_found, also for another user's key; version_mismatch */
  async delete(id: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    await this.deleteOf(reference(id, caller), caller, preconditions);
  }

  /** @throws Problem not_found, version_mismatch */
  async deleteOf(reference: KeyReference, actor: Actor, preconditions?: Preconditions): Promise<void> {
    const { id } = reference;
    await this.database.transaction(async (tx) => {
      const key = required(await this.keys.lock(tx, reference));
      if (preconditions) await this.requireVersion(tx, preconditions, key);
      await this.keys.delete(tx, id);
      await this.audit.record(tx, actor, 'key.delete', id, changesOf(key, null, FIELDS));
    });
  }

  /** @throws Problem forbidden if an owner would raise the limit; not_found */
  async setQuota(id: string, meter: string, dto: SetQuotaDto, caller: Caller): Promise<QuotaResponse> {
    const window = await this.quota.check(meter, dto);
    if (!isFlow(meter)) throw Problem.field('/meter', 'must be api:<slug> or api:*');
    return this.database.transaction(async (tx) => {
      const key = required(await this.keys.lock(tx, reference(id, caller)));
      const holder = { ownerId: key.ownerId, keyId: key.id };
      await this.quotas.lockCalls(tx, key.ownerId);
      if (caller.role !== 'admin') {
        const now = await this.quotas.limitOf(tx, holder, meter, window);
        const isWider = now !== null && now !== -1 && (dto.limit === null || dto.limit > now);
        if (isWider) throw new Problem('forbidden', { detail: 'Only administrators can raise a limit of a key.' });
      }
      const before = await this.quotas.set(tx, holder, meter, window, dto.limit);
      await this.quota.recordLimit(tx, caller, id, { meter, window, before, after: dto.limit });
      const { limits } = await this.stateOf(key, tx);
      const quota = limits.find((each) => each.meter === meter && each.window === window);
      if (!quota) throw new Error('A limit was set but cannot be read back');
      return quota;
    });
  }

  /** @throws Problem forbidden if an owner would remove an existing limit; not_found */
  async unsetQuota(id: string, meter: string, query: WindowQuery, caller: Caller): Promise<void> {
    const window = windowOf(meter, query);
    if (!isFlow(meter)) throw Problem.field('/meter', 'must be api:<slug> or api:*');
    await this.database.transaction(async (tx) => {
      const key = required(await this.keys.lock(tx, reference(id, caller)));
      const holder = { ownerId: key.ownerId, keyId: key.id };
      await this.quotas.lockCalls(tx, key.ownerId);
      const now = await this.quotas.limitOf(tx, holder, meter, window);
      if (caller.role !== 'admin' && now !== null && now !== -1) {
        throw new Problem('forbidden', { detail: 'Only administrators can remove a limit of a key.' });
      }
      const before = await this.quotas.unset(tx, holder, meter, window);
      await this.quota.recordLimit(tx, caller, id, { meter, window, before });
    });
  }

  private async requireVersion(tx: Transaction, preconditions: Preconditions, key: KeyRow): Promise<void> {
    if (isConditional(preconditions)) requireVersion(preconditions, toKeyResponse(await this.stateOf(key, tx)));
  }

  private async stateOf(key: KeyRow, tx?: Transaction): Promise<KeyState> {
    const [state] = await this.statesOf([key], tx);
    return required(state ?? null);
  }

  private async statesOf(keys: readonly KeyRow[], tx?: Transaction): Promise<KeyState[]> {
    const quotas = await this.quotas.listOfKeys(keys, tx);
    return keys.map((key) => {
      const own = quotas.filter(({ keyId }) => keyId === key.id);
      const used = own.flatMap(({ usedAt }) => (usedAt ? [usedAt.getTime()] : []));
      return {
        key,
        limits: own.flatMap((row) => toQuotaResponses(row, 'key')),
        lastUsedAt: used.length > 0 ? new Date(Math.max(...used)) : null,
      };
    });
  }
}

/** Returns the reference to a key that a caller may access: its own, or any key for an administrator. */
function reference(id: string, caller: Caller): KeyReference {
  return { ownerId: reach(caller), id };
}

/** PostgreSQL accepts fewer offsets than RFC 3339 allows. */
function toDate(moment: string | null): Date | null {
  return moment === null ? null : new Date(moment);
}

function hashOf(secret: string): string {
  const hash = hashApiKey(secret);
  if (hash === undefined) throw new Error('A generated API key has an invalid format');
  return hash;
}
