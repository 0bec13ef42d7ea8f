import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import type { Actor, Caller, Origin } from '../common/caller.js';
import { Cursors, type Page, type PageQuery } from '../common/page.js';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { Database, type Transaction } from '../database/database.js';
import { turnOf } from '../users/hash-queue.js';
import { Notices } from '../users/notices.js';
import { Passwords, type Fit } from '../users/passwords.js';
import { UsersRepository, type Credentials, type UserRow } from '../users/users.repository.js';
import { UsersService } from '../users/users.service.js';
import { AccessTokens } from './access-tokens.js';
import type { ChangePasswordDto, LoginDto, RegisterDto } from './auth.dto.js';
import { PasswordCheck } from './password-check.js';
import { RefreshTokens, type RefreshClaims } from './refresh-tokens.js';
import type { Session } from './session.entity.js';
import { SessionsRepository } from './sessions.repository.js';
import { SignInThrottle, type Attempt } from './sign-in-throttle.js';
import { TotpService } from './totp.service.js';

export interface SignIn {
  accessToken: string;
  refreshToken: string;
  user: UserRow;
}

/** Milliseconds for which a token that was just exchanged still returns the same successor (supabase/auth#1318). */
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
    private readonly passwordCheck: PasswordCheck,
    private readonly throttle: SignInThrottle,
    private readonly totp: TotpService,
    private readonly audit: AuditLog,
    private readonly notices: Notices,
  ) {}

  async register(dto: RegisterDto, origin: Origin, tx?: Transaction): Promise<UserRow> {
    return this.users.register(dto, origin, tx);
  }

  /**
   * @throws Problem invalid_credentials and too_many_attempts, each the same for an unknown login and a wrong password;
   * account_disabled; totp_required, invalid_totp
   */
  async login({ login, ...secrets }: LoginDto, origin: Origin): Promise<SignIn> {
    const account = await this.accounts.findCredentials(login);
    const { attempt, fit } = await this.passwordCheck.check(login, account, secrets.password, origin.ip);
    if (!account) throw new Problem('invalid_credentials');
    return this.throttle.settling(attempt, () => this.begin(account, secrets, fit, attempt, origin));
  }

  /**
   * Exchanges a refresh token. Reuse of an exchanged token ends the session, because two parties hold the token. For
   * ten seconds, the last exchanged token returns the same successor again, because the response may have been lost.
   * @throws Problem invalid_token; account_disabled, which does not use up the token
   */
  async refresh(token: string, origin: Origin): Promise<SignIn> {
    const claims = this.refreshTokens.read(token);
    if (!claims) throw new Problem('invalid_token');
    const current = await this.database.transaction((tx) => this.exchange(tx, token, claims, origin));
    if (!current) throw new Problem('invalid_token');
    return this.signIn({ ...claims, generation: current.generation }, current.nonce, 'invalid_token');
  }

  /** @throws Problem forbidden if the caller has no session */
  async logout(caller: Caller): Promise<void> {
    const { sessionId } = caller;
    if (sessionId === null) throw new Problem('forbidden', { detail: 'A signed request has no session to end.' });
    await this.end(caller, sessionId);
  }

  async listSessions(caller: Caller, query: PageQuery): Promise<Page<Session>> {
    const list = `sessions/${caller.userId}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.sessions.listOwned(caller.userId, before, query.limit + 1);
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /** @throws Problem not_found */
  async endSession(caller: Caller, id: string): Promise<void> {
    if (!(await this.end(caller, id))) throw new Problem('not_found');
  }

  /** @throws Problem invalid_credentials, too_many_attempts, validation_failed */
  async changePassword(caller: Caller, { currentPassword, newPassword }: ChangePasswordDto): Promise<void> {
    const { attempt, passwordHash } = await this.passwordCheck.confirm(caller, currentPassword);
    await this.throttle.settle(attempt, 'void');
    // Each change sends an e-mail, to an address that may not belong to the caller.
    await this.throttle.count(`password:${caller.userId}`, caller.origin.ip);
    const replacement = await this.passwords.hashNew(newPassword, '/newPassword', turnOf(caller.origin, true));
    await this.database.transaction(async (tx) => {
      // Another request changed the password in the meantime.
      if (!(await this.accounts.replacePassword(tx, caller.userId, passwordHash, replacement))) {
        throw new Problem('invalid_credentials');
      }
      const endedSessions = { to: await this.accounts.endSessions(tx, caller.userId, caller.sessionId) };
      await this.notices.passwordChanged(tx, caller.userId);
      await this.audit.record(tx, caller, 'password.change', caller.userId, { password: {}, endedSessions });
    });
  }

  /** Starts a session after the password was checked. */
  private async begin(
    account: Credentials,
    { password, code }: Pick<LoginDto, 'password' | 'code'>,
    fit: Fit,
    attempt: Attempt,
    origin: Origin,
    mayTryAgain = true,
  ): Promise<SignIn> {
    const ownerId = account.id;
    if (account.status === 'disabled') throw new Problem('account_disabled');
    const checked = {
      hash: account.passwordHash,
      renewed: fit === 'outdated' ? await this.passwords.hash(password, turnOf(origin, true)) : undefined,
    };
    await this.sessions.deleteExpired(ownerId);
    const [id, nonce] = [uuidv7(), randomBytes(32)];
    const { ip, userAgent } = origin;
    const actor = { userId: ownerId, origin };
    const hasBegun = await this.database.transaction(async (tx) => {
      const session = { ownerId, id, nonce, ip, userAgent, days: this.env.sessionDays };
      if (!(await this.sessions.start(tx, session, checked))) return false;
      await this.totp.use(tx, actor, ownerId, code);
      await this.throttle.settle(attempt, 'passed', tx);
      await this.audit.record(tx, actor, 'session.create', id, changesOf(null, { userAgent }, ['userAgent']));
      return true;
    });
    if (!hasBegun) {
      const now = await this.accounts.findCredentialsById(ownerId);
      if (now?.status === 'disabled') throw new Problem('account_disabled');
      // Another sign-in may have renewed the hash in the meantime.
      const fitNow = mayTryAgain
        ? await this.passwords.inTurn(turnOf(origin, true), () => this.passwords.fitOf(password, now?.passwordHash))
        : 'wrong';
      if (!now || fitNow === 'wrong') throw new Problem('invalid_credentials');
      return this.begin(now, { password, ...(code === undefined ? {} : { code }) }, fitNow, attempt, origin, false);
    }
    return this.signIn({ ownerId, sessionId: id, generation: 0 }, nonce, 'invalid_credentials');
  }

  /** @returns whether there was such a session */
  private end(caller: Caller, id: string): Promise<boolean> {
    return this.database.transaction(async (tx) => {
      const wasThere = await this.sessions.end(tx, caller.userId, id);
      if (wasThere) await this.audit.record(tx, caller, 'session.end', id);
      return wasThere;
    });
  }

  /** @returns the generation that is valid now; null if the token is not valid, and its session may have ended */
  private async exchange(
    tx: Transaction,
    token: string,
    claims: RefreshClaims,
    origin: Origin,
  ): Promise<{ generation: number; nonce: Buffer } | null> {
    const { ownerId, sessionId, generation } = claims;
    const actor: Actor = { userId: ownerId, origin };
    const session = await this.sessions.lock(tx, ownerId, sessionId);
    if (!session || !this.refreshTokens.isAuthentic(token, session.nonce)) return null;
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { nonce } = session;
    if (generation === session.generation) {
      await this.sessions.rotate(tx, ownerId, sessionId, this.env.sessionDays);
      await this.audit.record(tx, actor, 'session.refresh', sessionId);
      return { generation: generation + 1, nonce };
    }
    const isParent = generation === session.generation - 1;
    if (isParent && session.ageMs !== null && session.ageMs <= REUSE_GRACE_MS) {
      return { generation: session.generation, nonce };
    }
    await this.sessions.revoke(tx, ownerId, sessionId);
    await this.audit.record(tx, actor, 'session.revoke', sessionId, {
      reason: { to: 'a refresh token was used twice' },
    });
    return null;
  }

  /** @throws Problem `ifGone` where the account was deleted meanwhile */
  private async signIn(
    claims: RefreshClaims,
    nonce: Buffer,
    ifGone: 'invalid_credentials' | 'invalid_token',
  ): Promise<SignIn> {
    const user = await this.accounts.findById(claims.ownerId);
    if (!user) throw new Problem(ifGone);
    return {
      accessToken: this.accessTokens.sign(claims.ownerId, claims.sessionId),
      refreshToken: this.refreshTokens.make(claims, nonce),
      user,
    };
  }
}
