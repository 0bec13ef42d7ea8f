import { Injectable } from '@nestjs/common';
import { arrayOf } from '../../database/array-of.js';
import { byOwner, inBatchOrder } from '../../database/by-owner.js';
import { Coalescer, inPlace } from '../../database/coalescer.js';
import { Database, type Transaction } from '../../database/database.js';
import type { Run, RunVerdict } from './spender.js';
import { FIND_OWNERS, SPEND } from './spends.statements.js';

interface VerdictRow extends Omit<RunVerdict, 'ownerId'> {
  place: number;
}

/** Hashes must be hexadecimal and slugs lower case: neither is escaped. */
@Injectable()
export class SpendsRepository {
  private readonly owners: Coalescer<string, string | null>;

  constructor(private readonly database: Database) {
    this.owners = new Coalescer((hashes) => this.findOwners(hashes), {
      name: 'key_owners',
      key: (hash) => hash,
      readOnly: true,
    });
  }

  /** Returns the owner of the key with a secret; null if there is no such key. */
  async findOwner(hash: string, tx?: Transaction): Promise<string | null> {
    return tx ? ((await this.findOwners([hash], tx))[0] ?? null) : this.owners.add(hash);
  }

  /** Judges and charges runs in one statement, owner by owner. */
  async spend(runs: readonly Run[], tx?: Transaction): Promise<RunVerdict[]> {
    const sorting = byOwner(runs);
    const { sorted } = sorting;
    const values = [
      sorted[0]?.ownerId,
      arrayOf(sorted.map(({ ownerId }) => ownerId)),
      arrayOf(sorted.map(({ hash }) => `"\\\\x${hash}"`)),
      arrayOf(sorted.map(({ slug }) => `"${slug}"`)),
      arrayOf(sorted.map(({ cost }) => cost)),
      arrayOf(sorted.map(({ count }) => count)),
      arrayOf(sorted.map(({ dryRun }) => dryRun)),
    ];
    const rows = await this.database.query<VerdictRow>(SPEND, values, tx);
    const verdicts = Array<RunVerdict>(runs.length);
    for (const row of rows) {
      const i = row.place - 1;
      verdicts[i] = { ...row, ownerId: row.keyId === null ? null : (sorted[i]?.ownerId ?? null) };
    }
    return inBatchOrder(sorting, verdicts);
  }

  private async findOwners(hashes: readonly string[], tx?: Transaction): Promise<(string | null)[]> {
    const literal = arrayOf(hashes.map((hash) => `"\\\\x${hash}"`));
    const rows = await this.database.query<{ place: number; ownerId: string }>(FIND_OWNERS, [literal], tx);
    return inPlace(rows, hashes.length).map((row) => row?.ownerId ?? null);
  }
}
