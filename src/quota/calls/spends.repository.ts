import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { SPEND } from './spends.statements.js';
import type { Run, RunVerdict } from './spender.js';

interface VerdictRow extends RunVerdict {
  place: number;
}

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
    const rows = await this.database.query<VerdictRow>(SPEND, values, tx);
    const verdicts = Array<RunVerdict>(runs.length);
    for (const row of rows) verdicts[row.place - 1] = row;
    return verdicts;
  }
}

function array(runs: readonly Run[], element: (run: Run) => string): string {
  return `{${runs.map(element).join(',')}}`;
}
