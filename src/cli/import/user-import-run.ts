import { uuidv7 } from 'uuidv7';
import type { Problem } from '../../common/problem.js';
import type { Env } from '../../config/env.js';
import type { ImportedUser } from '../../users/user-import.js';
import { explainProblem } from '../failure.js';
import type { Journal, Progress } from './journal.js';
import { readRecords, type FileRecord } from './records.js';
import { Report, reportOf, type Rejected } from './report.js';
import { USER_COLUMNS, toUserRecord, type UserRecord } from './user-record.js';

/** Accounts in one transaction. */
const BATCH = 500;

const BEGINNING: Progress = { records: 0, created: 0, rejected: 0, reportBytes: 0, ids: [] };

/** What an import of accounts does. */
export interface UserImportRun {
  file: string;
  env: Env;
  /** Creates or checks accounts. Returns for each why it is rejected, or null. */
  write: (users: ImportedUser[]) => Promise<(Problem | null)[]>;
  /** Missing: a dry run, which cannot be continued. */
  journal?: Journal | undefined;
  onProgress: (bytes: number, records: number) => void;
}

/** Imports a file batch by batch. Continues an interrupted import. */
export async function importUsers({ file, env, write, journal, onProgress }: UserImportRun): Promise<Progress> {
  let progress = journal?.read() ?? BEGINNING;
  const report = new Report(reportOf(file, !journal), progress.reportBytes);
  // The interrupted batch is repeated as it was.
  const size = (): number => progress.ids.length || BATCH;
  for await (const batch of batches(file, progress.records, size)) {
    const records = await Promise.all(batch.map((record) => toUserRecord(env, record)));
    const ids = progress.ids.length > 0 ? progress.ids : records.map(() => uuidv7());
    journal?.write({ ...progress, ids });
    const rejected = await writeBatch(records, ids, write);
    report.add(rejected);
    progress = {
      records: progress.records + records.length,
      created: progress.created + records.length - rejected.length,
      rejected: progress.rejected + rejected.length,
      reportBytes: report.length,
      ids: [],
    };
    onProgress(records.at(-1)?.bytes ?? 0, progress.records);
  }
  journal?.delete();
  return progress;
}

async function writeBatch(
  records: readonly UserRecord[],
  ids: readonly string[],
  write: UserImportRun['write'],
): Promise<Rejected[]> {
  const valid = records.flatMap((record, i) => ('dto' in record ? [{ ...record, id: ids[i] ?? uuidv7() }] : []));
  const results = await write(valid);
  const problems = new Map(valid.map(({ line }, i) => [line, results[i] ?? null]));
  return records.flatMap((record) => {
    if ('reason' in record) return [{ line: record.line, reason: record.reason }];
    const problem = problems.get(record.line);
    return problem ? [{ line: record.line, reason: explainProblem(problem) }] : [];
  });
}

/** Reads a file in batches, without its first records. @param size of the next batch */
async function* batches(file: string, done: number, size: () => number): AsyncGenerator<FileRecord[]> {
  let batch: FileRecord[] = [];
  let read = 0;
  for await (const record of readRecords(file, USER_COLUMNS)) {
    if (++read <= done) continue;
    batch.push(record);
    if (batch.length < size()) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
