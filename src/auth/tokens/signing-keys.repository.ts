import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database, within, type Transaction } from '../../database/database.js';
import { SigningKey } from './signing-key.entity.js';

/** Key of the advisory lock for creating the first signing key. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6b79;

@Injectable()
export class SigningKeysRepository {
  constructor(
    @InjectRepository(SigningKey) private readonly keys: Repository<SigningKey>,
    private readonly database: Database,
  ) {}

  async findNewest(tx?: Transaction): Promise<SigningKey | null> {
    const [newest] = await within(this.keys, tx).find({ order: { createdAt: 'DESC' }, take: 1 });
    return newest ?? null;
  }

  /** Inserts a key unless another process was first. Returns the stored key. */
  async insertFirst(key: Pick<SigningKey, 'kid' | 'privateKeySealed'>): Promise<SigningKey> {
    return this.database.transaction(async (tx) => {
      await this.database.lock(tx, LOCK);
      const keys = within(this.keys, tx);
      if (!(await keys.exists())) await keys.insert(key);
      const kept = await this.findNewest(tx);
      if (!kept) throw new Error('The signing key was not stored');
      return kept;
    });
  }
}
