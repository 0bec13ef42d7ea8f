import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { Gauge, Window } from './meters.js';

export interface QuotaRow {
  meter: string;
  limit: number | null;
  used: number;
}

const LIST = {
  name: 'quotas-list',
  text: `
    SELECT m.meter, l.amount AS "limit", coalesce(c.used, 0) AS used
    FROM unnest($2::text[]) WITH ORDINALITY AS m (meter, ord)
    LEFT JOIN limits l ON l.owner_id = $1 AND l.meter = m.meter AND l.period = 'lifetime'
    LEFT JOIN counters c ON c.owner_id = $1 AND c.meter = m.meter
    ORDER BY m.ord`,
};

@Injectable()
export class QuotaRepository {
  constructor(private readonly database: Database) {}

  /** The limit and the use of each of some gauges, in that order. */
  list(ownerId: string, gauges: readonly Gauge[]): Promise<QuotaRow[]> {
    return this.database.query<QuotaRow>(LIST, [ownerId, gauges]);
  }

  /** @throws Problem not_found when the user has gone meanwhile */
  async set(tx: Transaction, ownerId: string, gauge: Gauge, window: Window, limit: number | null): Promise<void> {
    try {
      await tx.query(
        `INSERT INTO limits (owner_id, meter, period, amount) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT limits_pkey DO UPDATE SET amount = excluded.amount`,
        [ownerId, gauge, window, limit],
      );
    } catch (error) {
      if (violatedConstraint(error) === 'limits_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  async unset(tx: Transaction, ownerId: string, gauge: Gauge, window: Window): Promise<void> {
    await tx.query('DELETE FROM limits WHERE owner_id = $1 AND meter = $2 AND period = $3', [ownerId, gauge, window]);
  }
}
