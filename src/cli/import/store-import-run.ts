import { Problem } from '../../common/problem.js';
import { readWriteBody, type OnConflict, type WriteBody } from '../../store/store-body.js';
import type { EntryResult } from '../../store/store.dto.js';
import { explainProblem } from '../failure.js';
import { linesOf, type FileLine } from './lines.js';
import { faultOfLine } from './records.js';
import type { Rejected, Report } from './report.js';

/** A line of the file: an entry as `POST /v1/store/write` takes it. Its text is never parsed and written again. */
type Line = FileLine & { text: Buffer };

/** Valid entries. */
export interface Batch {
  body: WriteBody;
  /** The members `entries` and `onConflict` of the body, as JSON. */
  text: string;
}

/** The store of one user. */
export interface StoreTarget {
  /** Returns a result for each entry, also if a limit rejects all. */
  write: (batch: Batch) => Promise<EntryResult[]>;
}

export interface Counts {
  written: number;
  skipped: number;
  rejected: number;
}

export interface StoreImportRun {
  file: string;
  onConflict: OnConflict;
  target: StoreTarget;
  report: Report;
  onProgress: (bytes: number, entries: number) => void;
}

/** A batch ends at either bound. */
const [BATCH, BATCH_BYTES] = [500, 4_194_304];

/** Writes the entries of a file. Values stay the text that the file has. */
export async function importEntries({ file, onConflict, target, report, onProgress }: StoreImportRun): Promise<Counts> {
  const counts: Counts = { written: 0, skipped: 0, rejected: 0 };
  for await (const lines of batches(file)) {
    const { kept, batch, rejected } = readEntries(lines, onConflict);
    const results = batch ? await target.write(batch) : [];
    const failed = results.flatMap(({ status, code }, i) =>
      status === 'failed' ? [{ line: kept[i]?.line ?? 0, reason: reasonOf(code) }] : [],
    );
    report.add([...rejected, ...failed].sort((one, other) => one.line - other.line));
    counts.rejected += rejected.length + failed.length;
    counts.written += results.filter(({ status }) => status === 'written').length;
    counts.skipped += results.filter(({ status }) => status === 'skipped').length;
    onProgress(lines.at(-1)?.bytes ?? 0, counts.written + counts.skipped + counts.rejected);
  }
  return counts;
}

interface ReadLines {
  kept: Line[];
  /** Missing: no line is kept. */
  batch?: Batch;
  rejected: Rejected[];
}

/** Validates the lines as a batch. Lines with errors are rejected, and the others validated again. */
function readEntries(lines: readonly FileLine[], onConflict: OnConflict): ReadLines {
  const rejected: Rejected[] = [];
  let kept: Line[] = [];
  for (const { line, bytes, text } of lines) {
    const reason = faultOfLine(text);
    if (reason !== undefined || !text) rejected.push({ line, reason: reason ?? '' });
    else kept.push({ line, bytes, text });
  }
  while (kept.length > 0) {
    const text = `"entries":[${kept.map((each) => String(each.text)).join(',')}],"onConflict":"${onConflict}"`;
    try {
      return { kept, batch: { text, body: readWriteBody(Buffer.from(`{${text}}`)) }, rejected };
    } catch (error) {
      const wrong = faultsOf(error);
      for (const [place, reason] of wrong) rejected.push({ line: kept[place]?.line ?? 0, reason });
      kept = kept.filter((_line, i) => !wrong.has(i));
    }
  }
  return { kept, rejected };
}

/** Returns the errors by the place of the entry. @throws the error if it concerns no entry */
function faultsOf(error: unknown): Map<number, string> {
  const faults = error instanceof Problem ? (error.extra.errors ?? []) : [];
  const wrong = new Map(
    faults.flatMap(({ pointer, detail }): [number, string][] => {
      const [, place, member] = /^\/entries\/(\d+)(?:\/(.+))?$/.exec(pointer) ?? [];
      return place === undefined ? [] : [[Number(place), `${member ?? 'the entry'} ${detail}`]];
    }),
  );
  if (wrong.size === 0) throw error;
  return wrong;
}

function reasonOf(code: EntryResult['code']): string {
  return code === 'quota_exceeded' ? explainProblem(new Problem('quota_exceeded')) : 'was written meanwhile';
}

async function* batches(file: string): AsyncGenerator<FileLine[]> {
  let lines: FileLine[] = [];
  let size = 0;
  for await (const line of linesOf(file)) {
    lines.push(line);
    size += line.text?.length ?? 0;
    if (lines.length < BATCH && size < BATCH_BYTES) continue;
    yield lines;
    [lines, size] = [[], 0];
  }
  if (lines.length > 0) yield lines;
}
