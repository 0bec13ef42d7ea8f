import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Problem } from '../../common/problem.js';
import { readWriteBody, type OnConflict, type WriteBody } from '../../store/store-body.js';
import type { EntryResult } from '../../store/store.dto.js';
import type { StoreService } from '../../store/store.service.js';
import { explainProblem } from '../failure.js';
import type { Rejected, Report } from './report.js';

/** A line of the file: an entry as `POST /v1/store/write` takes it. Its text is never parsed and written again. */
interface Line {
  line: number;
  text: string;
}

interface Counts {
  written: number;
  skipped: number;
  rejected: number;
}

export interface StoreImportRun {
  file: string;
  ownerId: string;
  onConflict: OnConflict;
  store: StoreService;
  report: Report;
  onProgress: (bytes: number, entries: number) => void;
}

/** A batch ends at either bound. */
const [BATCH, BATCH_BYTES] = [500, 4_194_304];

/** Writes the entries of a file. Values stay the text that the file has. */
export async function importEntries(run: StoreImportRun): Promise<Counts> {
  const counts: Counts = { written: 0, skipped: 0, rejected: 0 };
  for await (const { lines, bytes } of batches(run.file)) {
    const { body, rejected } = readEntries(lines, run.onConflict);
    const kept = lines.filter(({ line }) => !rejected.some((each) => each.line === line));
    const results = kept.length === 0 ? [] : await write(run, body);
    const failed = results.flatMap(({ status, code }, i) =>
      status === 'failed' ? [{ line: kept[i]?.line ?? 0, reason: reasonOf(code) }] : [],
    );
    run.report.add([...rejected, ...failed].sort((one, other) => one.line - other.line));
    counts.rejected += rejected.length + failed.length;
    counts.written += results.filter(({ status }) => status === 'written').length;
    counts.skipped += results.filter(({ status }) => status === 'skipped').length;
    run.onProgress(bytes, counts.written + counts.skipped + counts.rejected);
  }
  return counts;
}

/** Validates the lines as a batch. Lines with errors are rejected, and the others validated again. */
function readEntries(lines: readonly Line[], onConflict: OnConflict): { body: WriteBody; rejected: Rejected[] } {
  const objects = lines.filter(({ text }) => isObject(text));
  const rejected = lines
    .filter((line) => !objects.includes(line))
    .map(({ line }) => reject(line, 'is not a JSON object'));
  let rest = objects;
  for (;;) {
    const text = `{"entries":[${rest.map((each) => each.text).join(',')}],"onConflict":"${onConflict}"}`;
    try {
      if (rest.length === 0) return { body: { entries: [], onConflict, atomic: false, owner: undefined }, rejected };
      return { body: readWriteBody(Buffer.from(text)), rejected };
    } catch (error) {
      const faults = error instanceof Problem ? (error.extra.errors ?? []) : [];
      const wrong = new Map(
        faults.flatMap(({ pointer, detail }): [number, string][] => {
          const [, place, member] = /^\/entries\/(\d+)(?:\/(.+))?$/.exec(pointer) ?? [];
          return place === undefined ? [] : [[Number(place), `${member ?? 'the entry'} ${detail}`]];
        }),
      );
      if (wrong.size === 0) throw error;
      rejected.push(...[...wrong].map(([place, reason]) => reject(rest[place]?.line ?? 0, reason)));
      rest = rest.filter((_line, i) => !wrong.has(i));
    }
  }
}

async function write({ store, ownerId }: StoreImportRun, body: WriteBody): Promise<EntryResult[]> {
  try {
    return (await store.write(ownerId, body)).results;
  } catch (error) {
    // Nothing was written; the problem has the result of each entry.
    const results = error instanceof Problem ? (error.extra.members?.results as EntryResult[] | undefined) : undefined;
    if (!results) throw error;
    return results;
  }
}

function isObject(text: string): boolean {
  try {
    return text.trimStart().startsWith('{') && JSON.parse(text) !== null;
  } catch {
    return false;
  }
}

function reasonOf(code: EntryResult['code']): string {
  return code === 'quota_exceeded' ? explainProblem(new Problem('quota_exceeded')) : 'was written meanwhile';
}

function reject(line: number, reason: string): Rejected {
  return { line, reason };
}

async function* batches(file: string): AsyncGenerator<{ lines: Line[]; bytes: number }> {
  let lines: Line[] = [];
  let [line, bytes, size] = [0, 0, 0];
  for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    line++;
    bytes += Buffer.byteLength(text) + 1;
    if (text.trim() === '') continue;
    lines.push({ line, text });
    size += Buffer.byteLength(text);
    if (lines.length < BATCH && size < BATCH_BYTES) continue;
    yield { lines, bytes };
    [lines, size] = [[], 0];
  }
  if (lines.length > 0) yield { lines, bytes };
}
