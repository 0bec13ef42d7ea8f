import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../../audit/audit-log.js';
import type { Caller } from '../../http/caller/caller.js';
import { Cursors, type Page, type PageQuery } from '../../common/page.js';
import { Problem } from '../../common/problem.js';
import { Database, type Transaction } from '../../database/database.js';
import { NoPublicKey, parsePublicKey } from './public-key.js';
import type { CreateSigningKeyDto } from './request-key.dto.js';
import type { RequestKey } from './request-key.entity.js';
import { RequestKeysRepository } from './request-keys.repository.js';

/** Per user. */
const MAX_KEYS = 100;

/** A new key. `privateKey` is set if the server generated the pair; it is never stored. */
export interface NewRequestKey {
  key: RequestKey;
  privateKey: string | undefined;
}

/** Registers, lists and revokes the signing keys of a user. No other user can do this. */
@Injectable()
export class RequestKeysService {
  constructor(
    private readonly database: Database,
    private readonly keys: RequestKeysRepository,
    private readonly cursors: Cursors,
    private readonly audit: AuditLog,
  ) {}

  /**
   * @throws Problem validation_failed if it is not an Ed25519 public key; forbidden if the user has the maximum number
   * of keys
   */
  async register(dto: CreateSigningKeyDto, caller: Caller, transaction?: Transaction): Promise<NewRequestKey> {
    const { publicKey, privateKey } = dto.publicKey === undefined ? await makePair() : read(dto.publicKey);
    const { name } = dto;
    const key = await this.database.within(transaction, async (tx) => {
      const made = await this.keys.insert(tx, { id: uuidv7(), ownerId: caller.userId, name, publicKey }, MAX_KEYS);
      if (!made) {
        throw new Problem('forbidden', {
          detail: `A user can have at most ${String(MAX_KEYS)} signing keys. Revoke one first.`,
        });
      }
      const changes = { name: { to: name }, publicKey: { to: publicKey.toString('base64') } };
      await this.audit.record(tx, caller, 'signing_key.create', made.id, changes);
      return made;
    });
    return { key, privateKey };
  }

  async list(caller: Caller, query: PageQuery): Promise<Page<RequestKey>> {
    const list = `signing-keys/${caller.userId}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.keys.listOwned(caller.userId, before, query.limit + 1);
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /** Takes effect with the next request, on every node. @throws Problem not_found, also for the key of another user */
  async revoke(id: string, caller: Caller): Promise<void> {
    await this.database.transaction(async (tx) => {
      const name = await this.keys.delete(tx, caller.userId, id);
      if (name === null) throw new Problem('not_found');
      await this.audit.record(tx, caller, 'signing_key.delete', id, { name: { from: name } });
    });
  }
}

async function makePair(): Promise<{ publicKey: Buffer; privateKey: string }> {
  const pair = await promisify(generateKeyPair)('ed25519');
  return {
    publicKey: parsePublicKey(pair.publicKey.export({ format: 'jwk' })),
    privateKey: pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

function read(given: string | object): { publicKey: Buffer; privateKey: undefined } {
  try {
    return { publicKey: parsePublicKey(given), privateKey: undefined };
  } catch (error) {
    if (error instanceof NoPublicKey) throw Problem.field('/publicKey', error.message);
    throw error;
  }
}
