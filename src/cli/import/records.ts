import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { parse, type CsvError, type Info } from 'csv-parse';
import { ConfigError } from '../../config/env.js';
import { UsageError } from '../command.js';
import { linesOf } from './lines.js';

export type FileFormat = 'csv' | 'ndjson';

/** A record of a file. With `fault`, the text of the record cannot be read. */
export interface FileRecord {
  /** The line on which it ends, from 1. */
  line: number;
  /** The bytes of the file up to its end. */
  bytes: number;
  value: Record<string, unknown>;
  fault?: string;
}

interface CsvRecord {
  record: string[];
  info: Info;
}

/** A longer record indicates a missing closing quote. */
const MAX_RECORD_BYTES = 65_536;

const NOT_UTF8 = 'is not valid UTF-8';

/** @throws UsageError unless the name of the file ends with `.csv`, `.ndjson` or `.jsonl` */
export function formatOf(path: string): FileFormat {
  if (/\.csv$/i.test(path)) return 'csv';
  if (/\.(ndjson|jsonl)$/i.test(path)) return 'ndjson';
  throw new UsageError('The name of the file must end with .csv, .ndjson or .jsonl.');
}

/** Reads a file record by record. Skips empty lines. */
export function readRecords(path: string, columns: readonly string[]): AsyncGenerator<FileRecord> {
  return formatOf(path) === 'csv' ? readCsv(path, columns) : readNdjson(path);
}

/** @throws UsageError if the header is wrong; ConfigError if the rest of the file cannot be divided into records */
async function* readCsv(path: string, columns: readonly string[]): AsyncGenerator<FileRecord> {
  const options = { bom: true, info: true, skip_empty_lines: true, max_record_size: MAX_RECORD_BYTES };
  const parser = parse({ ...options, relax_column_count: true, relax_quotes: true });
  const file = createReadStream(path);
  // `pipe` does not hand errors on.
  file.on('error', (error) => parser.destroy(error)).pipe(parser);
  let header: string[] | undefined;
  try {
    for await (const { record: cells, info } of parser as AsyncIterable<CsvRecord>) {
      const at = { line: info.lines, bytes: info.bytes };
      if (!header) header = headerOf(cells, columns);
      // The parser has replaced invalid bytes.
      else if (cells.some((cell) => cell.includes('\ufffd'))) yield { ...at, value: {}, fault: NOT_UTF8 };
      else if (cells.length === header.length) yield { ...at, value: toObject(header, cells) };
      else yield { ...at, value: {}, fault: `has ${cells.length} fields, and the header has ${header.length}` };
    }
  } catch (error) {
    const { code, lines } = error as Partial<CsvError> & { lines?: number };
    if (code?.startsWith('CSV_') !== true) throw error;
    throw new ConfigError(`${path} cannot be read from line ${lines ?? 1} on: a quote is missing (${code}).`);
  }
}

function headerOf(cells: readonly string[], columns: readonly string[]): string[] {
  const names = cells.map((cell) => cell.trim());
  const unknown = names.find((name) => !columns.includes(name));
  if (unknown !== undefined) {
    throw new UsageError(
      `The first line names the columns; ${JSON.stringify(unknown)} is not one of ${columns.join(', ')}.`,
    );
  }
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) throw new UsageError(`The first line names the column ${repeated} twice.`);
  return names;
}

/** An empty cell is a missing member. */
function toObject(header: readonly string[], cells: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(header.flatMap((name, i) => (cells[i] === '' ? [] : [[name, cells[i]]])));
}

async function* readNdjson(path: string): AsyncGenerator<FileRecord> {
  for await (const { line, bytes, text } of linesOf(path)) yield { line, bytes, ...parsed(text) };
}

function parsed(text: Buffer | undefined): Pick<FileRecord, 'value' | 'fault'> {
  const fault = faultOfLine(text);
  return fault === undefined ? { value: JSON.parse(String(text)) as Record<string, unknown> } : { value: {}, fault };
}

/** Returns why a line is not a JSON object; undefined if it is one. */
export function faultOfLine(text: Buffer | undefined): string | undefined {
  if (text === undefined) return 'is too long';
  if (!isUtf8(text)) return NOT_UTF8;
  try {
    const value = JSON.parse(text.toString()) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return undefined;
  } catch {
    // Reported below.
  }
  return 'is not a JSON object';
}
