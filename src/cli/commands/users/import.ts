import { clientFrom, type ApiOptions } from '../../api.js';
import type { Io, Outcome } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { sizeOf } from '../../files.js';
import { Journal, type Progress } from '../../import/journal.js';
import { formatOf } from '../../import/records.js';
import { reportOf } from '../../import/report.js';
import { importUsers, type UserTarget } from '../../import/user-import-run.js';
import { ProgressBar } from '../../progress-bar.js';

interface Options extends ApiOptions {
  dryRun?: true;
}

/** `quartermaster users import`. */
export async function run(io: Io, file: string, { dryRun, ...target }: Options): Promise<Outcome> {
  formatOf(file);
  const size = sizeOf(file);
  const client = clientFrom(io, target);
  const journal = dryRun ? undefined : new Journal(file, target.url ?? 'database');
  const work = async (users: UserTarget): Promise<Outcome> => {
    const before = journal?.read()?.records ?? 0;
    if (before > 0) io.stderr.write(`Continuing an interrupted import after ${before} records.\n`);
    const bar = new ProgressBar(io, size, 'records', before);
    try {
      const onProgress = (bytes: number, records: number): void => bar.update(bytes, records);
      const progress = await importUsers({ file, target: users, journal, onProgress });
      return outcomeOf(file, progress, bar.rate(progress.records), dryRun ?? false);
    } finally {
      bar.stop();
    }
  };
  if (!client) return (await import('../../direct/users.js')).withUsers(io, work);
  return work(await (await import('../../over-api/users.js')).usersOf(client));
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
