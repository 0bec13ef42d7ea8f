import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';
import type { Run, RunVerdict } from './spender.js';

interface VerdictRow extends RunVerdict {
  place: number;
}

const SPEND = {
  name: 'calls-spend',
  text: `
    SELECT place, verdict, owner_id AS "ownerId", key_id AS "keyId", granted, limits, answer, upstream, moment
    FROM spend_calls($1::text::bytea[], $2::text::text[], $3::text::bigint[], $4::text::integer[], $5::text::boolean[])`,
};

@Injectable()
export class SpendsRepository {
  constructor(private readonly database: Database) {}

  /** Judges and charges runs in one statement. Slugs must be lower case, hashes hexadecimal: neither is escaped. */
  async spend(runs: readonly Run[], tx?: Transaction): Promise<RunVerdict[]> {
    // Builds array literals itself: the driver's array serialization costs ten times as much.
    const values = [
      array(runs, (run) => `"\\\\x${run.hash}"`),
      array(runs, (run) => `"${run.slug}"`),
      array(runs, (run) => String(run.cost)),
      array(runs, (run) => String(run.count)),
      array(runs, (run) => (run.dryRun ? 't' : 'f')),
    ];
    const rows = await (tx ? tx.query<VerdictRow>(SPEND.text, values) : this.database.query<VerdictRow>(SPEND, values));
    const verdicts = Array<RunVerdict>(runs.length);
    for (const row of rows) verdicts[row.place - 1] = row;
    return verdicts;
  }
}

function array(runs: readonly Run[], element: (run: Run) => string): string {
  return `{${runs.map(element).join(',')}}`;
}
