import { Injectable } from '@nestjs/common';
import type { Role } from '../common/caller.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Env } from '../config/env.js';
import { Database, type Statement } from '../database/database.js';
import type { UserStatus } from '../users/user.entity.js';
import { needsTotp } from './admin-totp.js';

/** Maximum difference between `created` of a signature and the current time, in seconds, in either direction. */
export const MAX_AGE_SECONDS = 300;

/** A key that is not revoked, and its account, as currently stored. */
export interface LiveKey {
  ownerId: string;
  publicKey: Buffer;
  role: Role;
  status: UserStatus;
  usernameKey: string | null;
  emailKey: string | null;
  /** See `Caller`. */
  needsTotp: boolean;
}

/** A verified signature whose nonce is to be taken. */
export interface Use {
  keyId: string;
  /** SHA-256. */
  nonceHash: Buffer;
  /** Seconds since 1970. */
  created: number;
  expires: number | null;
}

export interface Verdict extends LiveKey {
  /** Whether it was created within `MAX_AGE_SECONDS` of the database's clock. */
  isTimely: boolean;
  isExpired: boolean;
  /** Whether its nonce was new and is now taken. Always false if the time is wrong or the account is disabled. */
  isTaken: boolean;
}

const accountOf = (env: Env): string => `k.owner_id AS "ownerId", k.public_key AS "publicKey", u.role, u.status,
  u.username_key AS "usernameKey", u.email_key AS "emailKey",
  ${needsTotp(env)} AS "needsTotp"`;

const findLive = (env: Env): Statement => ({
  name: 'signatures-live',
  text: `
    SELECT q.place::integer AS place, ${accountOf(env)}
    FROM unnest($1::uuid[]) WITH ORDINALITY AS q (key_id, place)
    JOIN request_keys k ON k.id = q.key_id
    JOIN users u ON u.id = k.owner_id`,
});

/**
 * One statement reads key and account, checks the time, and takes the nonce. It inserts nonces in a fixed order, so
 * that concurrent statements wait for each other but never deadlock. Of equal nonces in one batch, the first wins.
 */
const use = (env: Env): Statement => ({
  name: 'signatures-use',
  text: `
    WITH asked AS (
      SELECT q.*, row_number() OVER (PARTITION BY q.key_id, q.nonce_hash ORDER BY q.place) = 1 AS is_first
      FROM unnest($1::uuid[], $2::bytea[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS q (key_id, nonce_hash, created, expires, place)
    ), live AS (
      SELECT q.*, ${accountOf(env)}, abs(clock.seconds - q.created) <= ${String(MAX_AGE_SECONDS)} AS "isTimely",
        coalesce(q.expires <= clock.seconds, false) AS "isExpired"
      FROM asked q
      JOIN request_keys k ON k.id = q.key_id
      JOIN users u ON u.id = k.owner_id
      CROSS JOIN (SELECT floor(extract(epoch FROM now()))::bigint AS seconds) clock
    ), taken AS (
      INSERT INTO request_nonces (owner_id, key_id, nonce_hash, signed_at)
      SELECT l."ownerId", l.key_id, l.nonce_hash, to_timestamp(l.created) FROM live l
      WHERE l.is_first AND l."isTimely" AND NOT l."isExpired" AND l.status = 'active'
      ORDER BY 1, 2, 3
      ON CONFLICT ON CONSTRAINT request_nonces_pkey DO NOTHING
      RETURNING key_id, nonce_hash
    )
    SELECT l.place::integer AS place, l."ownerId", l."publicKey", l.role, l.status, l."usernameKey", l."emailKey", l."needsTotp",
      l."isTimely", l."isExpired", l.is_first AND t.key_id IS NOT NULL AS "isTaken"
    FROM live l LEFT JOIN taken t ON t.key_id = l.key_id AND t.nonce_hash = l.nonce_hash`,
});

/** Maximum number of rows that one sweep deletes. */
const SWEPT = 1_000;

/**
 * Keeps nonces twice as long as a signature can be valid: the database's clock may be changed, or differ after a
 * failover.
 */
const DELETE_OLD = {
  name: 'signatures-delete-old',
  text: `
    DELETE FROM request_nonces WHERE (owner_id, key_id, nonce_hash) IN (
      SELECT owner_id, key_id, nonce_hash FROM request_nonces
      WHERE signed_at < now() - make_interval(secs => ${String(2 * MAX_AGE_SECONDS)})
      ORDER BY signed_at LIMIT ${String(SWEPT)} FOR UPDATE SKIP LOCKED)
    RETURNING key_id`,
};

/** Signing keys by `keyid`, and the nonces that were used. */
@Injectable()
export class SignaturesRepository {
  private readonly live: Coalescer<string, LiveKey | null>;
  private readonly uses: Coalescer<Use, Verdict | null>;
  private readonly statements: { findLive: Statement; use: Statement };

  constructor(
    private readonly database: Database,
    env: Env,
  ) {
    this.statements = { findLive: findLive(env), use: use(env) };
    this.live = new Coalescer((keyIds) => this.findAllLive(keyIds), {
      name: 'signing-keys',
      key: (keyId) => keyId,
      readOnly: true,
    });
    this.uses = new Coalescer((uses) => this.useAll(uses), { name: 'signatures' });
  }

  /** Returns a key that is not revoked, with its account, read from the database for this request. */
  findLive(keyId: string): Promise<LiveKey | null> {
    return this.live.add(keyId);
  }

  /**
   * Takes the nonce of a verified signature, permanently and for every node.
   * @returns null if the key does not exist
   */
  use(use: Use): Promise<Verdict | null> {
    return this.uses.add(use);
  }

  /** Deletes some of the nonces whose signatures have expired. @returns whether there may be more */
  async deleteOld(): Promise<boolean> {
    return (await this.database.query(DELETE_OLD, [])).length === SWEPT;
  }

  private async findAllLive(keyIds: readonly string[]): Promise<(LiveKey | null)[]> {
    const rows = await this.database.query<LiveKey & { place: number }>(this.statements.findLive, [keyIds]);
    return inPlace(rows, keyIds.length);
  }

  private async useAll(uses: readonly Use[]): Promise<(Verdict | null)[]> {
    const rows = await this.database.query<Verdict & { place: number }>(this.statements.use, [
      uses.map((use) => use.keyId),
      uses.map((use) => use.nonceHash),
      uses.map((use) => use.created),
      uses.map((use) => use.expires),
    ]);
    return inPlace(rows, uses.length);
  }
}
