import { Injectable } from '@nestjs/common';
import { Database, type Statement, type Transaction } from '../database/database.js';
import type { TokenKind } from './account-token.entity.js';
import { makeToken, type TokenClaims } from './account-tokens.js';
import type { UserStatus } from './user.entity.js';

/** How long a token is good, and how many an account is given. */
export interface TokenRule {
  /** Seconds. */
  lifetime: number;
  /** Seconds after one in which there is no other. */
  pause: number;
  perHour: number;
}

export interface NewToken {
  token: string;
  expiresAt: Date;
}

/** A good token: of what kind, and of whom. */
export interface KnownToken {
  kind: TokenKind;
  status: UserStatus;
}

/** What mails need to know of an account. */
export interface MailAccount {
  id: string;
  username: string | null;
  email: string | null;
  isConfirmed: boolean;
}

/** In the place of the last one, which is void; or nothing, and the last one stays good, when there were enough of them. */
const RENEW = `
  INSERT INTO account_tokens AS t (owner_id, kind, token_hash, expires_at)
  VALUES ($1, $2, $3, now() + make_interval(secs => $4))
  ON CONFLICT ON CONSTRAINT account_tokens_pkey DO UPDATE SET
    token_hash = excluded.token_hash,
    expires_at = excluded.expires_at,
    made_at = now(),
    made = CASE WHEN t.hour_at <= now() - interval '1 hour' THEN 1 ELSE t.made + 1 END,
    hour_at = CASE WHEN t.hour_at <= now() - interval '1 hour' THEN now() ELSE t.hour_at END
  WHERE t.made_at <= now() - make_interval(secs => $5) AND (t.made < $6 OR t.hour_at <= now() - interval '1 hour')
  RETURNING expires_at AS "expiresAt"`;

const WAIT = `
  SELECT ceil(extract(epoch FROM
    greatest(made_at + make_interval(secs => $3), CASE WHEN made >= $4 THEN hour_at + interval '1 hour' END) - now()))::int AS seconds
  FROM account_tokens WHERE owner_id = $1 AND kind = $2`;

const FIND: Statement = {
  name: 'account-token',
  text: `
    SELECT t.kind, u.status FROM account_tokens t JOIN users u ON u.id = t.owner_id
    WHERE t.owner_id = $1 AND t.token_hash = $2 AND t.kind = ANY($3) AND t.expires_at > now()`,
};

const FIND_ACCOUNT = `
  SELECT id, username, email, email_confirmed_at IS NOT NULL AS "isConfirmed" FROM users`;

/** Tokens of accounts: single use, one of a kind. Whoever makes or uses one has locked the account first. */
@Injectable()
export class AccountTokensRepository {
  constructor(private readonly database: Database) {}

  /** A new token in the place of the last of its kind; null when the rule has no room for one. */
  async renew(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<NewToken | null> {
    const { token, hash } = makeToken(ownerId);
    const values = [ownerId, kind, hash, rule.lifetime, rule.pause, rule.perHour];
    const [row] = await tx.query<{ expiresAt: Date }>(RENEW, values);
    return row ? { token, expiresAt: row.expiresAt } : null;
  }

  /** Seconds until `renew` has room again. */
  async wait(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<number> {
    const [row] = await tx.query<{ seconds: number }>(WAIT, [ownerId, kind, rule.pause, rule.perHour]);
    return row?.seconds ?? 0;
  }

  /** A token that is good now; it may have been used by the time this resolves. */
  async find({ ownerId, hash }: TokenClaims, kinds: readonly TokenKind[]): Promise<KnownToken | null> {
    return (await this.database.query<KnownToken>(FIND, [ownerId, hash, kinds]))[0] ?? null;
  }

  /** Uses a token up: of all who try, one gets its kind. */
  async use(tx: Transaction, { ownerId, hash }: TokenClaims, kinds: readonly TokenKind[]): Promise<TokenKind | null> {
    const [row] = await tx.query<{ kind: TokenKind }>(
      `UPDATE account_tokens SET token_hash = NULL
       WHERE owner_id = $1 AND token_hash = $2 AND kind = ANY($3) AND expires_at > now() RETURNING kind`,
      [ownerId, hash, kinds],
    );
    return row?.kind ?? null;
  }

  async confirmEmail(tx: Transaction, id: string): Promise<void> {
    await tx.query(
      `UPDATE users SET email_confirmed_at = now() WHERE id = $1 AND email IS NOT NULL AND email_confirmed_at IS NULL`,
      [id],
    );
  }

  /** Locks an account against being deleted or changed until the transaction ends, and reads it. */
  async lockAccount(tx: Transaction, id: string): Promise<MailAccount | null> {
    return (await tx.query<MailAccount>(`${FIND_ACCOUNT} WHERE id = $1 FOR NO KEY UPDATE`, [id]))[0] ?? null;
  }

  /** As `lockAccount`, of a username or e-mail, if it may sign in and has an e-mail. @param key of `loginKey` */
  async lockByLogin(tx: Transaction, key: string): Promise<(MailAccount & { email: string }) | null> {
    const [row] = await tx.query<MailAccount & { email: string }>(
      `${FIND_ACCOUNT} WHERE (username_key = $1 OR email_key = $1) AND status = 'active' AND email IS NOT NULL
       FOR NO KEY UPDATE`,
      [key],
    );
    return row ?? null;
  }
}
