import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';

const INSERT = {
  name: 'recovery-request',
  text: `
    INSERT INTO recovery_requests (login_hash, login) VALUES ($1, $2)
    ON CONFLICT ON CONSTRAINT recovery_requests_pkey DO UPDATE SET login = excluded.login`,
};

@Injectable()
export class RecoveryRequestsRepository {
  constructor(private readonly database: Database) {}

  /** Writes a row even if the request is already pending, so that both cases take the same time. */
  async insert(loginHash: Buffer, login: Buffer): Promise<void> {
    await this.database.query(INSERT, [loginHash, login]);
  }

  /** Takes a request that no other node has locked. It is deleted when the transaction commits. */
  async take(tx: Transaction): Promise<Buffer | undefined> {
    const [row] = await tx.query<{ login: Buffer }>(
      `DELETE FROM recovery_requests WHERE login_hash = (SELECT login_hash FROM recovery_requests LIMIT 1 FOR UPDATE SKIP LOCKED)
       RETURNING login`,
    );
    return row?.login;
  }
}
