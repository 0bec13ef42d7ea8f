import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database, type Transaction } from '../../database/database.js';
import { RecoveryRequest } from './recovery-request.entity.js';
import { TAKE } from './recovery-requests.statements.js';

@Injectable()
export class RecoveryRequestsRepository {
  constructor(
    @InjectRepository(RecoveryRequest) private readonly requests: Repository<RecoveryRequest>,
    private readonly database: Database,
  ) {}

  /** Writes a row even if the request is already pending, so that both cases take the same time. */
  async insert(loginHash: Buffer, login: Buffer): Promise<void> {
    // Not `upsert`, which also sets the key, and so waits for locks that only refer to it.
    const query = this.requests.createQueryBuilder().insert().values({ loginHash, login });
    await query.orUpdate(['login'], ['login_hash']).updateEntity(false).execute();
  }

  /** Takes a request that no other node has locked. It is deleted when the transaction commits. */
  async take(tx: Transaction): Promise<Buffer | undefined> {
    return (await this.database.query<{ login: Buffer }>(TAKE, [], tx))[0]?.login;
  }
}
