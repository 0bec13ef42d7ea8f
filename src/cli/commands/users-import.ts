import { UserImport, type ImportedUser } from '../../users/user-import.js';
import type { Io, Outcome } from '../command.js';
import { EXIT } from '../exit-codes.js';
import { sizeOf } from '../files.js';
import { Journal, type Progress } from '../import/journal.js';
import { formatOf } from '../import/records.js';
import { reportOf } from '../import/report.js';
import { importUsers } from '../import/user-import-run.js';
import { OPERATOR } from '../operator.js';
import { withPlatform } from '../platform.js';
import { ProgressBar } from '../progress-bar.js';

interface Options {
  dryRun?: true;
}

/** `quartermaster users import`. */
export async function run(io: Io, file: string, { dryRun }: Options): Promise<Outcome> {
  formatOf(file);
  const size = sizeOf(file);
  return withPlatform(io, async (app, env) => {
    const users = app.get(UserImport);
    const journal = dryRun ? undefined : new Journal(file);
    const before = journal?.read()?.records ?? 0;
    if (before > 0) io.stderr.write(`Continuing an interrupted import after ${before} records.\n`);
    const names = new Set<string>();
    const write = (some: ImportedUser[]) => (dryRun ? users.checkAll(some, names) : users.createAll(some, OPERATOR));
    const bar = new ProgressBar(io, size, 'records');
    try {
      const onProgress = (bytes: number, records: number): void => bar.update(bytes, records);
      const progress = await importUsers({ file, env, write, journal, onProgress });
      return outcomeOf(file, progress, bar.rate(progress.records - before), dryRun ?? false);
    } finally {
      bar.stop();
    }
  });
}

function outcomeOf(file: string, { created, rejected }: Progress, rate: number, isDry: boolean): Outcome {
  const report = rejected > 0 ? reportOf(file, isDry) : null;
  const done = isDry ? 'accounts can be created' : 'accounts are created';
  return {
    data: { [isDry ? 'valid' : 'created']: created, rejected, report, recordsPerSecond: rate },
    text: `${created} ${done}, ${rejected} lines are rejected (${rate} records a second).${report === null ? '' : `\nThe reasons are in ${report}.`}`,
    exitCode: rejected > 0 ? EXIT.problems : EXIT.done,
  };
}
