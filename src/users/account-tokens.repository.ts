import { Injectable } from '@nestjs/common';
import { Database, type Statement, type Transaction } from '../database/database.js';
import type { TokenKind } from './account-token.entity.js';
import { makeToken, type TokenClaims } from './account-tokens.js';
import type { UserStatus } from './user.entity.js';

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

/**
 * Replaces the last token, which becomes void. If the rule allows no new token, writes nothing, and the last one stays
 * valid.
 */
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

/** Single-use tokens of accounts, one of each kind. Lock the account before you make or use a token. */
@Injectable()
export class AccountTokensRepository {
  constructor(private readonly database: Database) {}

  /** Makes a token that replaces the last one of its kind. Returns null if the rule allows no new token. */
  async renew(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<NewToken | null> {
    const { token, hash } = makeToken(ownerId);
    const values = [ownerId, kind, hash, rule.lifetime, rule.pause, rule.perHour];
    const [row] = await tx.query<{ expiresAt: Date }>(RENEW, values);
    return row ? { token, expiresAt: row.expiresAt } : null;
  }

  /** Returns the seconds until `renew` allows a new token. */
  async wait(tx: Transaction, ownerId: string, kind: TokenKind, rule: TokenRule): Promise<number> {
    const [row] = await tx.query<{ seconds: number }>(WAIT, [ownerId, kind, rule.pause, rule.perHour]);
    return row?.seconds ?? 0;
  }

  /** Returns a token that is valid now. Another request may use it before this resolves. */
  async find({ ownerId, hash }: TokenClaims, kinds: readonly TokenKind[]): Promise<KnownToken | null> {
    return (await this.database.query<KnownToken>(FIND, [ownerId, hash, kinds]))[0] ?? null;
  }

  /** Uses up a token. Of concurrent attempts, one gets its kind, and the others get null. */
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

  /** Reads an account, and locks it against deletion and changes until the transaction ends. */
  async lockAccount(tx: Transaction, id: string): Promise<MailAccount | null> {
    return (await tx.query<MailAccount>(`${FIND_ACCOUNT} WHERE id = $1 FOR NO KEY UPDATE`, [id]))[0] ?? null;
  }

  /** Like `lockAccount`, for the login of an active account that has an e-mail. @param key from `loginKey` */
  async lockByLogin(tx: Transaction, key: string): Promise<(MailAccount & { email: string }) | null> {
    const [row] = await tx.query<MailAccount & { email: string }>(
      `${FIND_ACCOUNT} WHERE (username_key = $1 OR email_key = $1) AND status = 'active' AND email IS NOT NULL
       FOR NO KEY UPDATE`,
      [key],
    );
    return row ?? null;
  }
}
