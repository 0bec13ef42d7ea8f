import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Not, type FindOptionsWhere, type Repository } from 'typeorm';
import { isFuture } from '../database/columns.js';
import { Database, within, type Transaction } from '../database/database.js';
import { AccountToken, type TokenKind } from './account-token.entity.js';
import { makeToken, type TokenClaims } from './account-tokens.js';
import { RENEW, WAIT } from './account-tokens.statements.js';
import { User, type UserStatus } from './user.entity.js';

/** The lifetime and the rate limit of a kind of token. */
export interface TokenRule {
  /** In seconds. */
  lifetime: number;
  /** Minimum number of seconds between two tokens. */
  pause: number;
  perHour: number;
}

export interface NewToken {
  token: string;
  expiresAt: Date;
}

/** The kind of a valid token, and the status of its account. */
export interface KnownToken {
  kind: TokenKind;
  status: UserStatus;
}

/** The data of an account that mails need. */
export interface MailAccount {
  id: string;
  username: string | null;
  email: string | null;
  isConfirmed: boolean;
}

/** Single-use tokens of accounts, one of each kind. Lock the account before you make or use a token. */
@Injectable()
export class AccountTokensRepository {
  constructor(
    @InjectRepository(AccountToken) private readonly tokens: Repository<AccountToken>,
    @InjectRepository(User) private readonly users: Repository<User>,
    private readonly database: Database,
  ) {}

  /** Makes a token that replaces the last one of its kind. Returns null if the rule allows no new token. */
  async renew(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<NewToken | null> {
    const { token, hash } = makeToken(ownerId);
    const values = [ownerId, kind, hash, rule.lifetime, rule.pause, rule.perHour];
    const [row] = await this.database.query<{ expiresAt: Date }>(RENEW, values, tx);
    return row ? { token, expiresAt: row.expiresAt } : null;
  }

  /** Returns the seconds until `renew` allows a new token. */
  async wait(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<number> {
    const values = [ownerId, kind, rule.pause, rule.perHour];
    return (await this.database.query<{ seconds: number }>(WAIT, values, tx))[0]?.seconds ?? 0;
  }

  /** Returns a token that is valid now. Another request may use it before this resolves. */
  async find(claims: TokenClaims, kinds: readonly TokenKind[]): Promise<KnownToken | null> {
    const found = await this.tokens
      .createQueryBuilder('token')
      .innerJoin('token.owner', 'owner')
      .select('token.kind', 'kind')
      .addSelect('owner.status', 'status')
      .where(isValid(claims, kinds))
      .getRawOne<KnownToken>();
    return found ?? null;
  }

  /** Uses up a token. Of concurrent attempts, one gets its kind, and the others get null. */
  async use(tx: Transaction, claims: TokenClaims, kinds: readonly TokenKind[]): Promise<TokenKind | null> {
    const used = await within(this.tokens, tx)
      .createQueryBuilder()
      .update()
      .set({ tokenHash: null })
      .where(isValid(claims, kinds))
      .returning('kind')
      .execute();
    return (used.raw as Pick<AccountToken, 'kind'>[])[0]?.kind ?? null;
  }

  /** Makes the tokens of some kinds invalid. */
  async voidAll(tx: Transaction, ownerId: string, kinds: readonly TokenKind[]): Promise<void> {
    await within(this.tokens, tx).update({ ownerId, kind: In(kinds) }, { tokenHash: null });
  }

  async confirmEmail(tx: Transaction, id: string): Promise<void> {
    const isUnconfirmed = { id, email: Not(IsNull()), emailConfirmedAt: IsNull() };
    await within(this.users, tx).update(isUnconfirmed, { emailConfirmedAt: () => 'now()' });
  }

  /** Reads an account, and locks it against deletion and changes until the transaction ends. */
  lockAccount(tx: Transaction, id: string): Promise<MailAccount | null> {
    return this.lockWhere(tx, { id });
  }

  /** Like `lockAccount`, for the login of an active account that has an e-mail. @param key from `loginKey` */
  async lockByLogin(tx: Transaction, key: string): Promise<(MailAccount & { email: string }) | null> {
    const isReachable = { status: 'active', email: Not(IsNull()) } as const;
    const account = await this.lockWhere(tx, [
      { usernameKey: key, ...isReachable },
      { emailKey: key, ...isReachable },
    ]);
    return account as (MailAccount & { email: string }) | null;
  }

  private async lockWhere(
    tx: Transaction,
    where: FindOptionsWhere<User> | FindOptionsWhere<User>[],
  ): Promise<MailAccount | null> {
    const select = { id: true, username: true, email: true, emailConfirmedAt: true } as const;
    const user = await within(this.users, tx).findOne({ select, where, lock: { mode: 'for_no_key_update' } });
    if (!user) return null;
    const { id, username, email, emailConfirmedAt } = user;
    return { id, username, email, isConfirmed: emailConfirmedAt !== null };
  }
}

function isValid({ ownerId, hash }: TokenClaims, kinds: readonly TokenKind[]): FindOptionsWhere<AccountToken> {
  return { ownerId, tokenHash: hash, kind: In(kinds), expiresAt: isFuture() };
}
