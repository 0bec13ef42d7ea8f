import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, Raw, type Repository } from 'typeorm';
import type { Origin, Role } from '../common/caller.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Env } from '../config/env.js';
import { Database, type Statement, type Transaction } from '../database/database.js';
import type { UserStatus } from '../users/user.entity.js';
import { needsTotp } from './admin-totp.js';
import { Session } from './session.entity.js';

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

/**
 * The sub-selects hide the lengths of the arrays from the planner. Otherwise it plans each execution anew: 0.27 ms
 * instead of 0.06, measured. OFFSET 0 keeps it from joining in another order, which would read all users.
 */
const findLive = (env: Env): Statement => ({
  name: 'sessions-live',
  text: `
    SELECT q.place::integer AS place, a.*
    FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) WITH ORDINALITY AS q (owner_id, id, place)
    CROSS JOIN LATERAL (
      SELECT u.role, u.status, u.username_key AS "usernameKey", u.email_key AS "emailKey",
        ${needsTotp(env)} AS "needsTotp"
      FROM sessions s JOIN users u ON u.id = s.owner_id
      WHERE s.owner_id = q.owner_id AND s.id = q.id AND s.expires_at > now() OFFSET 0
    ) a`,
});

/**
 * Requires that the password is still the one that was checked: a changed password ends all sessions, so also this one.
 */
const START = `
  WITH account AS (
    UPDATE users SET last_login_at = now(), password_hash = $8
    WHERE id = $1 AND password_hash = $7 AND status = 'active' RETURNING id
  )
  INSERT INTO sessions (owner_id, id, nonce, ip, user_agent, expires_at)
  SELECT id, $2, $3, $4, $5, now() + make_interval(days => $6) FROM account RETURNING id`;

/** Deletes a small batch, and skips rows that another node has locked. */
const DELETE_EXPIRED = `
  DELETE FROM sessions WHERE (owner_id, id) IN (
    SELECT owner_id, id FROM sessions WHERE owner_id = $1 AND expires_at <= now() LIMIT 100 FOR UPDATE SKIP LOCKED)`;

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
    return (await tx.query(START, values)).length > 0;
  }

  /** Deletes expired sessions of a user. Called when the user signs in again. */
  async deleteExpired(tx: Transaction, ownerId: string): Promise<void> {
    await tx.query(DELETE_EXPIRED, [ownerId]);
  }

  /** @returns whether there was such a session */
  async end(tx: Transaction, ownerId: string, id: string): Promise<boolean> {
    const text = 'DELETE FROM sessions WHERE owner_id = $1 AND id = $2 AND expires_at > now() RETURNING id';
    return (await tx.query(text, [ownerId, id])).length > 0;
  }

  /** Locks a session until the transaction ends. */
  async lock(tx: Transaction, ownerId: string, id: string): Promise<LockedSession | null> {
    const rows = await tx.query<LockedSession>(
      `SELECT s.nonce, s.generation, u.status, (extract(epoch FROM now() - s.rotated_at) * 1000)::float8 AS "ageMs"
       FROM sessions s JOIN users u ON u.id = s.owner_id
       WHERE s.owner_id = $1 AND s.id = $2 AND s.expires_at > now() FOR UPDATE OF s`,
      [ownerId, id],
    );
    return rows[0] ?? null;
  }

  async rotate(tx: Transaction, ownerId: string, id: string): Promise<void> {
    await tx.query(
      `UPDATE sessions SET generation = generation + 1, rotated_at = now(), expires_at = now() + make_interval(days => $3)
       WHERE owner_id = $1 AND id = $2`,
      [ownerId, id, this.env.sessionDays],
    );
  }

  async revoke(tx: Transaction, ownerId: string, id: string): Promise<void> {
    await tx.query('DELETE FROM sessions WHERE owner_id = $1 AND id = $2', [ownerId, id]);
  }

  /** Lists unexpired sessions, newest first. @param before id of the last session of the previous page */
  listOwned(ownerId: string, before: string | null, limit: number): Promise<Session[]> {
    return this.sessions.find({
      where: {
        ownerId,
        expiresAt: Raw((column) => `${column} > now()`),
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
