import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isEqual } from '../common/bytes.js';
import { Secrets } from '../config/secrets.js';
import type { SealableEntry } from './audit.repository.js';

/** An entry without the fields that are derived from it. */
export type BareEntry = Omit<SealableEntry, 'mac' | 'position'>;

/**
 * Computes keyed hashes of entries and of their chain. The keys are derived from SECRET_KEY, which the database does
 * not have.
 */
@Injectable()
export class AuditMac {
  private readonly entryKey: Buffer;
  private readonly chainKey: Buffer;

  constructor(secrets: Secrets) {
    this.entryKey = secrets.derive('audit-entry');
    this.chainKey = secrets.derive('audit-chain');
  }

  /** Returns the MAC which proves that the server wrote an entry with exactly this content. */
  of(entry: BareEntry): Buffer {
    return createHmac('sha256', this.entryKey).update(textOf(entry)).digest();
  }

  isGenuine(entry: SealableEntry): boolean {
    return isEqual(this.of(entry), entry.mac);
  }

  /** Returns a link of the chain: a MAC of the previous link, the position, and the whole entry. */
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
