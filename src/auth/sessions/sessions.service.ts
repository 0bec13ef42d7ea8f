import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../../audit/audit-log.js';
import { changesOf } from '../../audit/changes.js';
import type { Caller, Origin } from '../../http/caller/caller.js';
import { Cursors, type Page, type PageQuery } from '../../common/page.js';
import { Problem } from '../../common/problem.js';
import { Database, type Transaction } from '../../database/database.js';
import { UsersRepository, type UserRow } from '../../users/users.repository.js';
import { AccessTokens } from '../tokens/access-tokens.js';
import { RefreshTokens, type RefreshClaims } from '../tokens/refresh-tokens.js';
import type { Session } from './session.entity.js';
import { SessionsRepository, type CheckedPassword } from './sessions.repository.js';

/** A session and the generation of the refresh token that is valid now. */
export interface OpenSession extends RefreshClaims {
  nonce: Buffer;
}

/** The tokens of a sign-in or a refresh. */
export interface SignIn {
  accessToken: string;
  refreshToken: string;
  user: UserRow;
}

/** Milliseconds for which a token that was just exchanged still returns the same successor (supabase/auth#1318). */
const REUSE_GRACE_MS = 10_000;

/** The sessions of a user: start, refresh, list and end. */
@Injectable()
export class SessionsService {
  constructor(
    private readonly database: Database,
    private readonly sessions: SessionsRepository,
    private readonly accounts: UsersRepository,
    private readonly accessTokens: AccessTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly cursors: Cursors,
    private readonly audit: AuditLog,
  ) {}

  /** Starts a session. @returns null if the account is no longer active or its password has changed */
  async start(tx: Transaction, account: CheckedPassword & { id: string }, origin: Origin): Promise<OpenSession | null> {
    const [ownerId, sessionId, nonce] = [account.id, uuidv7(), randomBytes(32)];
    const { ip, userAgent } = origin;
    if (!(await this.sessions.start(tx, { ownerId, id: sessionId, nonce, ip, userAgent }, account))) return null;
    await this.sessions.deleteExpired(tx, ownerId);
    const changes = changesOf(null, { userAgent }, ['userAgent']);
    await this.audit.record(tx, { userId: ownerId, origin }, 'session.create', sessionId, changes);
    return { ownerId, sessionId, generation: 0, nonce };
  }

  /**
   * Exchanges a refresh token. Reuse of an exchanged token ends the session, because two parties hold the token. For
   * ten seconds, the last exchanged token returns the same successor again, because the response may have been lost.
   * @throws Problem invalid_token; account_disabled, which does not use up the token
   */
  async refresh(token: string, origin: Origin): Promise<SignIn> {
    const claims = this.refreshTokens.read(token);
    const session = claims && (await this.database.transaction((tx) => this.exchange(tx, token, claims, origin)));
    const signIn = session && (await this.issue(session));
    if (!signIn) throw new Problem('invalid_token');
    return signIn;
  }

  /** Issues the tokens of a session. @returns null if the account was deleted in the meantime */
  async issue({ nonce, ...claims }: OpenSession): Promise<SignIn | null> {
    const user = await this.accounts.findById(claims.ownerId);
    return (
      user && {
        accessToken: this.accessTokens.sign(claims.ownerId, claims.sessionId),
        refreshToken: this.refreshTokens.make(claims, nonce),
        user,
      }
    );
  }

  async list(ownerId: string, query: PageQuery): Promise<Page<Session>> {
    const list = `sessions/${ownerId}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.sessions.listOwned(ownerId, before, query.limit + 1);
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /** Ends a session of an account. @returns whether it existed */
  end(caller: Caller, ownerId: string, id: string): Promise<boolean> {
    return this.database.transaction(async (tx) => {
      const existed = await this.sessions.end(tx, ownerId, id);
      if (existed) await this.audit.record(tx, caller, 'session.end', id);
      return existed;
    });
  }

  /** @returns null if the token is not valid, and its session may have ended */
  private async exchange(
    tx: Transaction,
    token: string,
    claims: RefreshClaims,
    origin: Origin,
  ): Promise<OpenSession | null> {
    const { ownerId, sessionId, generation } = claims;
    const actor = { userId: ownerId, origin };
    const session = await this.sessions.lock(tx, ownerId, sessionId);
    if (!session || !this.refreshTokens.isAuthentic(token, session.nonce)) return null;
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { nonce } = session;
    if (generation === session.generation) {
      await this.sessions.rotate(tx, ownerId, sessionId);
      await this.audit.record(tx, actor, 'session.refresh', sessionId);
      return { ...claims, generation: generation + 1, nonce };
    }
    const isParent = generation === session.generation - 1;
    if (isParent && session.ageMs !== null && session.ageMs <= REUSE_GRACE_MS) {
      return { ...claims, generation: session.generation, nonce };
    }
    await this.sessions.revoke(tx, ownerId, sessionId);
    await this.audit.record(tx, actor, 'session.revoke', sessionId, {
      reason: { to: 'a refresh token was used twice' },
    });
    return null;
  }
}
