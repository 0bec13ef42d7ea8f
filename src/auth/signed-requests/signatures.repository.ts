import { Injectable } from '@nestjs/common';
import type { Role } from '../../http/caller/caller.js';
import { Coalescer, inPlace } from '../../database/coalescer.js';
import { Env } from '../../config/env.js';
import { Database, type Statement } from '../../database/database.js';
import type { UserStatus } from '../../users/user.entity.js';
import { DELETE_OLD, SWEPT, findLive, use } from './signatures.statements.js';

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
