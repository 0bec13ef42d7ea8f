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

  /** Writes whether it waits already or not, so that both take as long. */
  async insert(loginHash: Buffer, login: Buffer): Promise<void> {
    await this.database.query(INSERT, [loginHash, login]);
  }

  /** Takes some for the rest of the transaction, but those that another node is at. They are gone when it commits. */
  async take(tx: Transaction, limit: number): Promise<Buffer[]> {
    const rows = await tx.query<{ login: Buffer }>(
      `DELETE FROM recovery_requests WHERE login_hash IN (SELECT login_hash FROM recovery_requests LIMIT $1 FOR UPDATE SKIP LOCKED)
       RETURNING login`,
      [limit],
    );
    return rows.map((row) => row.login);
  }
}
