import { LRUCache } from 'lru-cache';
import type { Transaction } from '../../database/database.js';

/** Maximum number of secrets whose owner is remembered. */
const REMEMBERED = 50_000;

/**
 * Remembers whose key a secret is, which never changes. Whether the key is valid is judged in the database, at each
 * call.
 */
export class KeyOwners {
  private readonly owners = new LRUCache<string, string>({ max: REMEMBERED });

  /** @param read returns the owner of the key with a secret; null if there is no such key */
  constructor(private readonly read: (hash: string, tx?: Transaction) => Promise<string | null>) {}

  /** Returns the owner of the key with a secret, at once if it is remembered; null if there is no such key. */
  find(hash: string, tx?: Transaction): string | Promise<string | null> {
    return this.owners.get(hash) ?? this.readAndRemember(hash, tx);
  }

  private async readAndRemember(hash: string, tx?: Transaction): Promise<string | null> {
    const owner = await this.read(hash, tx);
    if (owner !== null) this.owners.set(hash, owner);
    return owner;
  }
}
