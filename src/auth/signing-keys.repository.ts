import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { SigningKey } from './signing-key.entity.js';

/** Key of the advisory lock for creating the first signing key. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6b79;

@Injectable()
export class SigningKeysRepository {
  constructor(
    @InjectRepository(SigningKey) private readonly keys: Repository<SigningKey>,
    private readonly database: Database,
  ) {}

  async findNewest(): Promise<SigningKey | null> {
    const [newest] = await this.keys.find({ order: { createdAt: 'DESC' }, take: 1 });
    return newest ?? null;
  }

  /** Inserts a key unless another process was first. Returns the stored key. */
  async insertFirst(key: Pick<SigningKey, 'kid' | 'privateKeySealed'>): Promise<SigningKey> {
    return this.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      const keys = tx.manager.getRepository(SigningKey);
      if ((await keys.count()) === 0) await keys.insert(key);
      const [kept] = await keys.find({ order: { createdAt: 'DESC' }, take: 1 });
      if (!kept) throw new Error('The signing key was not stored');
      return kept;
    });
  }
}
