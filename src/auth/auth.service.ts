import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import type { Caller, Origin } from '../common/caller.js';
import { Cursors, type Page, type PageQuery } from '../common/page.js';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { Database, type Transaction } from '../database/database.js';
import { Passwords } from '../users/passwords.js';
import { UsersRepository, type UserRow } from '../users/users.repository.js';
import { UsersService } from '../users/users.service.js';
import { AccessTokens } from './access-tokens.js';
import type { ChangePasswordDto, LoginDto, RegisterDto } from './auth.dto.js';
import { RefreshTokens, type RefreshClaims } from './refresh-tokens.js';
import type { Session } from './session.entity.js';
import { SessionsRepository } from './sessions.repository.js';

export interface SignIn {
  accessToken: string;
  refreshToken: string;
  user: UserRow;
}

/** Milliseconds in which the token that was just exchanged still gets the same successor (supabase/auth#1318). */
const REUSE_GRACE_MS = 10_000;

/** Registration, sign-in, and the sessions of a user. */
@Injectable()
export class AuthService {
  constructor(
    private readonly env: Env,
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly sessions: SessionsRepository,
    private readonly accessTokens: AccessTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly cursors: Cursors,
  ) {}

  async register(dto: RegisterDto, tx?: Transaction): Promise<UserRow> {
    return this.users.create(dto, null, tx);
  }

  /** @throws Problem invalid_credentials, the same for an unknown login and a wrong password; account_disabled */
  async login({ login, password }: LoginDto, origin: Origin): Promise<SignIn> {
    const account = await this.accounts.findCredentials(login);
    if (!(await this.passwords.matches(password, account?.passwordHash)) || !account) {
      throw new Problem('invalid_credentials');
    }
    if (account.status === 'disabled') throw new Problem('account_disabled');
    const nonce = randomBytes(32);
    const session = { ownerId: account.id, id: uuidv7(), nonce, days: this.env.sessionDays, ...origin };
    if (!(await this.sessions.start(session, account.passwordHash))) {
      const now = await this.accounts.findCredentialsById(account.id);
      throw new Problem(now?.status === 'disabled' ? 'account_disabled' : 'invalid_credentials');
    }
    return this.signIn({ ownerId: account.id, sessionId: session.id, generation: 0 }, nonce);
  }

  /**
   * Exchanges a refresh token. One that was exchanged before ends its session, for two now hold it; but its last
   * holder gets the same successor again for ten seconds, since an answer may have been lost.
   * @throws Problem invalid_token; account_disabled, which leaves the token good
   */
  async refresh(token: string): Promise<SignIn> {
    const claims = this.refreshTokens.read(token);
    if (!claims) throw new Problem('invalid_token');
    const current = await this.database.transaction((tx) => this.exchange(tx, token, claims));
    if (!current) throw new Problem('invalid_token');
    return this.signIn({ ...claims, generation: current.generation }, current.nonce);
  }

  async logout(caller: Caller): Promise<void> {
    await this.sessions.end(caller.userId, caller.sessionId);
  }

  async listSessions(caller: Caller, query: PageQuery): Promise<Page<Session>> {
    const list = `sessions/${caller.userId}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.sessions.listOwned(caller.userId, before, query.limit + 1);
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /** @throws Problem not_found */
  async endSession(caller: Caller, id: string): Promise<void> {
    if (!(await this.sessions.end(caller.userId, id))) throw new Problem('not_found');
  }

  /** @throws Problem invalid_credentials, validation_failed */
  async changePassword(caller: Caller, { currentPassword, newPassword }: ChangePasswordDto): Promise<void> {
    const account = await this.accounts.findCredentialsById(caller.userId);
    if (!account || !(await this.passwords.matches(currentPassword, account.passwordHash))) {
      throw new Problem('invalid_credentials', { detail: 'The current password is wrong.' });
    }
    const passwordHash = await this.passwords.hashNew(newPassword, '/newPassword');
    await this.database.transaction(async (tx) => {
      if (!(await this.accounts.replacePassword(tx, caller.userId, account.passwordHash, passwordHash))) {
        throw new Problem('invalid_credentials', { detail: 'The current password is wrong.' });
      }
      await this.accounts.endSessions(tx, caller.userId, caller.sessionId);
    });
  }

  /** @returns the generation that is good from now on; null when the token is not, and its session may have ended */
  private async exchange(
    tx: Transaction,
    token: string,
    claims: RefreshClaims,
  ): Promise<{ generation: number; nonce: Buffer } | null> {
    const { ownerId, sessionId, generation } = claims;
    const session = await this.sessions.lock(tx, ownerId, sessionId);
    if (!session || !this.refreshTokens.isAuthentic(token, session.nonce)) return null;
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { nonce } = session;
    if (generation === session.generation) {
      await this.sessions.rotate(tx, ownerId, sessionId, this.env.sessionDays);
      return { generation: generation + 1, nonce };
    }
    const isParent = generation === session.generation - 1;
    if (isParent && session.ageMs !== null && session.ageMs <= REUSE_GRACE_MS) {
      return { generation: session.generation, nonce };
    }
    await this.sessions.revoke(tx, ownerId, sessionId);
    return null;
  }

  private async signIn(claims: RefreshClaims, nonce: Buffer): Promise<SignIn> {
    const user = await this.accounts.findById(claims.ownerId);
    if (!user) throw new Problem('invalid_token');
    return {
      accessToken: this.accessTokens.sign(claims.ownerId, claims.sessionId),
      refreshToken: this.refreshTokens.make(claims, nonce),
      user,
    };
  }
}
