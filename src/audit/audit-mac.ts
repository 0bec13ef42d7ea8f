import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isEqual } from '../common/bytes.js';
import { Secrets } from '../config/secrets.js';
import type { SealableEntry } from './audit.repository.js';

/** An entry without what is made of it. */
export type BareEntry = Omit<SealableEntry, 'mac' | 'position'>;

/** Keyed hashes over entries, and over the chain of them: of SECRET_KEY, which the database does not know. */
@Injectable()
export class AuditMac {
  private readonly entryKey: Buffer;
  private readonly chainKey: Buffer;

  constructor(secrets: Secrets) {
    this.entryKey = secrets.derive('audit-entry');
    this.chainKey = secrets.derive('audit-chain');
  }

  /** That the server wrote an entry, and wrote it so. */
  of(entry: BareEntry): Buffer {
    return createHmac('sha256', this.entryKey).update(textOf(entry)).digest();
  }

  isGenuine(entry: SealableEntry): boolean {
    return isEqual(this.of(entry), entry.mac);
  }

  /** A link of the chain: over the one before, the place, and the whole entry. */
  link(previous: Buffer, position: bigint, entry: SealableEntry): Buffer {
    return createHmac('sha256', this.chainKey)
      .update(previous)
      .update(`${position.toString()}:`)
      .update(textOf(entry))
      .digest();
  }
}

function textOf({ id, at, actorId, action, target, changes, requestId, ip }: BareEntry): string {
  return JSON.stringify([id, at, actorId, action, target, changes, requestId, ip]);
}
