import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import type { Origin, Role } from '../../http/caller/caller.js';
import { Coalescer, inPlace } from '../../database/coalescer.js';
import { isFuture } from '../../database/columns.js';
import { Env } from '../../config/env.js';
import { Database, within, type Statement, type Transaction } from '../../database/database.js';
import type { UserStatus } from '../../users/user.entity.js';
import { Session } from './session.entity.js';
import { DELETE_EXPIRED, LOCK, START, findLive } from './sessions.statements.js';

/** An active session and its account, as currently stored. */
export interface LiveSession {
  role: Role;
  status: UserStatus;
  usernameKey: string | null;
  emailKey: string | null;
  /** See `Caller`. */
  needsTotp: boolean;
}

export interface LockedSession {
  nonce: Buffer;
  generation: number;
  /** Status of the account. */
  status: UserStatus;
  /** Milliseconds since the last exchange; null before the first. */
  ageMs: number | null;
}

interface SessionKey {
  ownerId: string;
  id: string;
}

export interface NewSession extends SessionKey, Pick<Origin, 'ip' | 'userAgent'> {
  nonce: Buffer;
}

/** The hash that the password was checked against, and the hash to store, which may be the same. */
export interface CheckedPassword {
  passwordHash: string;
  newHash: string;
}

@Injectable()
export class SessionsRepository {
  private readonly live: Coalescer<SessionKey, LiveSession | null>;
  private readonly findLiveSessions: Statement;

  constructor(
    @InjectRepository(Session) private readonly sessions: Repository<Session>,
    private readonly database: Database,
    private readonly env: Env,
  ) {
    this.findLiveSessions = findLive(env);
    this.live = new Coalescer((keys) => this.findAllLive(keys), {
      name: 'sessions',
      key: ({ ownerId, id }) => ownerId + id,
      readOnly: true,
    });
  }

  /**
   * Returns a session that has neither ended nor expired, with its account, read from the database for this request.
   */
  findLive(ownerId: string, id: string): Promise<LiveSession | null> {
    return this.live.add({ ownerId, id });
  }

  /** @returns false if the account is no longer active or its password has changed */
  async start(tx: Transaction, session: NewSession, { passwordHash, newHash }: CheckedPassword): Promise<boolean> {
    const { ownerId, id, nonce, ip, userAgent } = session;
    const values = [ownerId, id, nonce, ip, userAgent, this.env.sessionDays, passwordHash, newHash];
    return (await this.database.query(START, values, tx)).length > 0;
  }

  /** Deletes expired sessions of a user. Called when the user signs in again. */
  async deleteExpired(tx: Transaction, ownerId: string): Promise<void> {
    await this.database.query(DELETE_EXPIRED, [ownerId], tx);
  }

  /** @returns whether there was such a session */
  async end(tx: Transaction, ownerId: string, id: string): Promise<boolean> {
    const { affected } = await within(this.sessions, tx).delete({ ownerId, id, expiresAt: isFuture() });
    return affected === 1;
  }

  /** Locks a session until the transaction ends. */
  async lock(tx: Transaction, ownerId: string, id: string): Promise<LockedSession | null> {
    return (await this.database.query<LockedSession>(LOCK, [ownerId, id], tx))[0] ?? null;
  }

  async rotate(tx: Transaction, ownerId: string, id: string): Promise<void> {
    await within(this.sessions, tx)
      .createQueryBuilder()
      .update()
      .set({
        generation: () => 'generation + 1',
        rotatedAt: () => 'now()',
        expiresAt: () => 'now() + make_interval(days => :days)',
      })
      .where({ ownerId, id })
      .setParameter('days', this.env.sessionDays)
      .execute();
  }

  async revoke(tx: Transaction, ownerId: string, id: string): Promise<void> {
    await within(this.sessions, tx).delete({ ownerId, id });
  }

  /** Lists unexpired sessions, newest first. @param before id of the last session of the previous page */
  listOwned(ownerId: string, before: string | null, limit: number): Promise<Session[]> {
    return this.sessions.find({
      where: {
        ownerId,
        expiresAt: isFuture(),
        ...(before === null ? {} : { id: LessThan(before) }),
      },
      order: { id: 'DESC' },
      take: limit,
    });
  }

  private async findAllLive(keys: readonly SessionKey[]): Promise<(LiveSession | null)[]> {
    const rows = await this.database.query<LiveSession & { place: number }>(this.findLiveSessions, [
      keys.map((key) => key.ownerId),
      keys.map((key) => key.id),
    ]);
    return inPlace(rows, keys.length);
  }
}
