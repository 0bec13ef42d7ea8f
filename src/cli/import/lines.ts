import { createReadStream } from 'node:fs';

/** A line of a file, without its end. */
export interface FileLine {
  /** From 1. */
  line: number;
  /** The bytes of the file up to its end. */
  bytes: number;
  /** Undefined: the line is longer than a record can be. */
  text: Buffer | undefined;
}

/** A longer line indicates a file of another kind. Longer than any entry of a store. */
const MAX_LINE_BYTES = 2_097_152;

const [NEWLINE, RETURN] = [10, 13];

const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/** Reads the lines of a file as bytes. Skips lines without text, and the byte order mark that some editors write. */
export async function* linesOf(path: string): AsyncGenerator<FileLine> {
  let [line, bytes] = [0, 0];
  for await (const text of split(path)) {
    line++;
    bytes += text.length + 1;
    const start = line === 1 && text.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0;
    const kept = text.subarray(start, text.at(-1) === RETURN ? -1 : undefined);
    if (kept.length > MAX_LINE_BYTES) yield { line, bytes, text: undefined };
    else if (!isBlank(kept)) yield { line, bytes, text: kept };
  }
}

/** Keeps at most one byte more than a line may have, so that memory stays bounded. */
async function* split(path: string): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  let length = 0;
  const keep = (part: Buffer): void => {
    if (length <= MAX_LINE_BYTES) parts.push(part);
    length += part.length;
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      keep(chunk.subarray(start, end));
      yield Buffer.concat(parts);
      [parts, length, start] = [[], 0, end + 1];
    }
    if (start < chunk.length) keep(chunk.subarray(start));
  }
  if (length > 0) yield Buffer.concat(parts);
}

function isBlank(text: Buffer): boolean {
  return text.every((byte) => byte === 32 || byte === 9 || byte === RETURN);
}
