import type { Env } from '../../config/env.js';
import type { ImportedUser } from '../../users/user-import.js';
import type { Journal, Progress } from './journal.js';
import { readRecords, type FileRecord } from './records.js';
import { Report, reportOf, type Rejected } from './report.js';
import { USER_COLUMNS, toUserRecord, type UserRecord } from './user-record.js';

/** Accounts in one transaction. */
const BATCH = 500;

const BEGINNING: Progress = { records: 0, created: 0, rejected: 0, reportBytes: 0, ids: [] };

/** Why each account is rejected; null: it is not. */
type Reasons = (string | null)[];

/** Where accounts are imported to. */
export interface UserTarget {
  /** The rules for names and passwords. */
  env: Env;
  newId: () => string;
  /** Creates accounts. Repeated with the same ids, it creates none twice. */
  create: (users: ImportedUser[]) => Promise<Reasons>;
  /** Tells which accounts `create` would reject. @param seen the names of earlier calls, which later ones may not repeat */
  check: (users: ImportedUser[], seen: Set<string>) => Promise<Reasons>;
}

type Write = (users: ImportedUser[]) => Promise<Reasons>;

/** What an import of accounts does. */
export interface UserImportRun {
  file: string;
  target: UserTarget;
  /** Missing: a dry run, which cannot be continued. */
  journal?: Journal | undefined;
  onProgress: (bytes: number, records: number) => void;
}

/** Imports a file batch by batch. Continues an interrupted import. */
export async function importUsers({ file, target, journal, onProgress }: UserImportRun): Promise<Progress> {
  let progress = journal?.read() ?? BEGINNING;
  const report = new Report(reportOf(file, !journal), progress.reportBytes);
  const names = new Set<string>();
  const write: Write = (users) => (journal ? target.create(users) : target.check(users, names));
  // The interrupted batch is repeated as it was.
  const size = (): number => progress.ids.length || BATCH;
  for await (const batch of batches(file, progress.records, size)) {
    const records = await Promise.all(batch.map((record) => toUserRecord(target.env, record)));
    const ids = progress.ids.length > 0 ? progress.ids : records.map(target.newId);
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

async function writeBatch(records: readonly UserRecord[], ids: readonly string[], write: Write): Promise<Rejected[]> {
  const valid = records.flatMap((record, i) => ('dto' in record ? [{ ...record, id: ids[i] ?? '' }] : []));
  const results = await write(valid);
  const reasons = new Map(valid.map(({ line }, i) => [line, results[i] ?? null]));
  return records.flatMap((record) => {
    const { line } = record;
    const reason = 'reason' in record ? record.reason : reasons.get(line);
    return typeof reason === 'string' ? [{ line, reason }] : [];
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
