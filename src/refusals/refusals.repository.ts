import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { Refusal } from './refusal.entity.js';
import { BATCH, DELETE_OLD, INSERT, LOCK_OWNERS } from './refusals.statements.js';

export type RefusalRow = Omit<Refusal, 'owner'>;

/** Which refusals to list. */
export interface RefusalFilter {
  /** Undefined: of all owners. */
  ownerId: string | undefined;
  requestId: string | undefined;
  api: string | undefined;
}

@Injectable()
export class RefusalsRepository {
  constructor(
    @InjectRepository(Refusal) private readonly refusals: Repository<Refusal>,
    private readonly database: Database,
  ) {}

  /** Inserts the refusals of owners that still exist. @param trimmed owners whose oldest refusals are deleted */
  async insert(rows: readonly RefusalRow[], trimmed: readonly string[]): Promise<void> {
    const owners = [...new Set(rows.map(({ ownerId }) => ownerId))];
    await this.database.transaction(async (tx) => {
      const locked = await this.database.query<{ id: string }>(LOCK_OWNERS, [owners], tx);
      const existing = new Set(locked.map(({ id }) => id));
      const kept = rows.filter(({ ownerId }) => existing.has(ownerId));
      await this.database.query(INSERT, [JSON.stringify(kept), trimmed], tx);
    });
  }

  /** Lists refusals, newest first. @param before id of the last refusal of the previous page */
  list({ ownerId, requestId, api }: RefusalFilter, before: string | null, limit: number): Promise<RefusalRow[]> {
    return this.refusals.find({
      where: {
        ...(ownerId === undefined ? {} : { ownerId }),
        ...(requestId === undefined ? {} : { requestId }),
        ...(api === undefined ? {} : { api }),
        ...(before === null ? {} : { id: LessThan(before) }),
      },
      order: { id: 'DESC' },
      take: limit,
    });
  }

  /** Deletes a batch of refusals that are older than a day. @returns whether more may remain */
  async deleteOld(): Promise<boolean> {
    const rows = await this.database.query<{ count: number }>(DELETE_OLD, []);
    return (rows[0]?.count ?? 0) >= BATCH;
  }
}
