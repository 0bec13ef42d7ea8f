import { isUtf8 } from 'node:buffer';
import { Problem } from '../common/problem.js';

export const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
export const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];
const [MINUS, PLUS, POINT, ZERO, NINE] = [0x2d, 0x2b, 0x2e, 0x30, 0x39];
const [UPPER_E, LOWER_E, LOWER_F, LOWER_N, LOWER_T, LOWER_U] = [0x45, 0x65, 0x66, 0x6e, 0x74, 0x75];
const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];

const [TRUE, FALSE, NULL] = [Buffer.from('true'), Buffer.from('false'), Buffer.from('null')];

/** The characters allowed after a backslash, except `u`. */
const ESCAPED = new Set(Buffer.from('"\\/bfnrt'));

/** Limits of values that are parsed, not kept as text: flags and numbers. */
const MAX_PARSED_DEPTH = 8;
const MAX_PARSED_BYTES = 1_024;

/**
 * Scans JSON (RFC 8259) in place, as bytes of UTF-8. Values are validated and measured, not parsed. Numbers of twenty
 * digits, duplicate names and escaped lone surrogates stay unchanged.
 */
export class JsonText {
  at = 0;

  /** @throws Problem malformed_json if the bytes are not UTF-8 */
  constructor(readonly bytes: Buffer) {
    if (!isUtf8(bytes)) throw malformed('is not UTF-8');
  }

  /** Skips whitespace. @returns the next byte; undefined at the end */
  peek(): number | undefined {
    const { bytes } = this;
    let { at } = this;
    while (isBlank(bytes[at])) at++;
    this.at = at;
    return bytes[at];
  }

  /** Skips whitespace, and then `byte` if it is next. @returns whether it was next */
  take(byte: number): boolean {
    if (this.peek() !== byte) return false;
    this.at++;
    return true;
  }

  /** @throws Problem malformed_json if the next byte differs */
  expect(byte: number): void {
    if (!this.take(byte)) throw this.unexpected();
  }

  /** @throws Problem malformed_json if anything except whitespace follows */
  expectEnd(): void {
    if (this.peek() !== undefined) throw this.unexpected();
  }

  /** Reads a string. @returns its decoded content */
  readString(): string {
    if (this.peek() !== QUOTE) throw this.unexpected();
    const start = this.at;
    const hasEscapes = this.skipString();
    const { bytes, at } = this;
    return hasEscapes
      ? (JSON.parse(bytes.toString('utf8', start, at)) as string)
      : bytes.toString('utf8', start + 1, at - 1);
  }

  /**
   * Reads a value.
   * @returns its text, without whitespace outside strings
   * @throws Problem malformed_json; validation_failed if it nests deeper than `maxDepth` levels
   */
  readValue(maxDepth: number, pointer: string): Buffer {
    this.peek();
    const start = this.at;
    const hasBlanks = this.skipValue(maxDepth, pointer);
    const text = this.bytes.subarray(start, this.at);
    return hasBlanks ? withoutBlanks(text) : text;
  }

  /** Reads and parses a value. @returns undefined if its text is too large */
  parseValue(pointer: string): unknown {
    const text = this.readValue(MAX_PARSED_DEPTH, pointer);
    return text.length > MAX_PARSED_BYTES ? undefined : (JSON.parse(text.toString()) as unknown);
  }

  /** The error at the current position. */
  unexpected(): Problem {
    return this.at >= this.bytes.length
      ? malformed('ends before the JSON is complete')
      : malformed(`is not valid JSON at byte ${this.at}`);
  }

  /** Skips the value that begins here, without recursion. @returns whether it contains whitespace outside strings */
  private skipValue(maxDepth: number, pointer: string): boolean {
    /** The closing byte of each open level. */
    const closers: number[] = [];
    let blanks = 0;
    const next = (): number | undefined => {
      const before = this.at;
      const byte = this.peek();
      blanks += this.at - before;
      return byte;
    };
    for (;;) {
      const byte = next();
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (closers.length >= maxDepth) {
          throw Problem.field(pointer, `must not nest deeper than ${maxDepth} levels`);
        }
        this.at++;
        const closer = byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
        closers.push(closer);
        if (next() !== closer) {
          if (byte === OPEN_BRACE) this.skipName(next);
          continue;
        }
      } else if (byte === QUOTE) this.skipString();
      else if (byte === LOWER_T) this.skipWord(TRUE);
      else if (byte === LOWER_F) this.skipWord(FALSE);
      else if (byte === LOWER_N) this.skipWord(NULL);
      else this.skipNumber();
      // A value has ended, or an empty container is about to end.
      for (;;) {
        const closer = closers.at(-1);
        if (closer === undefined) return blanks > 0;
        const after = next();
        if (after === closer) {
          this.at++;
          closers.pop();
          continue;
        }
        if (after !== COMMA) throw this.unexpected();
        this.at++;
        if (closer === CLOSE_BRACE) this.skipName(next);
        break;
      }
    }
  }

  private skipName(next: () => number | undefined): void {
    if (next() !== QUOTE) throw this.unexpected();
    this.skipString();
    if (next() !== COLON) throw this.unexpected();
    this.at++;
  }

  /** Skips the string that begins here. @returns whether it has escapes */
  private skipString(): boolean {
    const { bytes } = this;
    let hasEscapes = false;
    let at = this.at + 1;
    for (;;) {
      const byte = bytes[at];
      if (byte === QUOTE) break;
      if (byte === undefined || byte < 0x20) {
        this.at = at;
        throw this.unexpected();
      }
      if (byte === BACKSLASH) {
        hasEscapes = true;
        const length = lengthOfEscape(bytes, at);
        if (length === 0) {
          this.at = at;
          throw this.unexpected();
        }
        at += length;
      } else at++;
    }
    this.at = at + 1;
    return hasEscapes;
  }

  private skipWord(word: Buffer): void {
    const end = this.at + word.length;
    if (!this.bytes.subarray(this.at, end).equals(word)) throw this.unexpected();
    this.at = end;
  }

  /** -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)? */
  private skipNumber(): void {
    const { bytes } = this;
    if (bytes[this.at] === MINUS) this.at++;
    if (bytes[this.at] === ZERO) this.at++;
    else this.skipDigits();
    if (bytes[this.at] === POINT) {
      this.at++;
      this.skipDigits();
    }
    if (bytes[this.at] === LOWER_E || bytes[this.at] === UPPER_E) {
      this.at++;
      if (bytes[this.at] === PLUS || bytes[this.at] === MINUS) this.at++;
      this.skipDigits();
    }
  }

  private skipDigits(): void {
    const start = this.at;
    while (isDigit(this.bytes[this.at])) this.at++;
    if (this.at === start) throw this.unexpected();
  }
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

/** Returns the length in bytes of the escape that begins at a backslash; 0 if it is invalid. */
function lengthOfEscape(bytes: Buffer, at: number): number {
  const kind = bytes[at + 1] ?? 0;
  if (ESCAPED.has(kind)) return 2;
  const isUnicode = kind === LOWER_U && [2, 3, 4, 5].every((offset) => isHexDigit(bytes[at + offset]));
  return isUnicode ? 6 : 0;
}

/** Returns a valid text without whitespace outside its strings. */
function withoutBlanks(text: Buffer): Buffer {
  const compact = Buffer.allocUnsafe(text.length);
  let length = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] ?? 0;
    if (!inString && isBlank(byte)) continue;
    compact[length++] = byte;
    if (byte === QUOTE) inString = !inString;
    else if (byte === BACKSLASH) compact[length++] = text[++i] ?? 0;
  }
  return compact.subarray(0, length);
}

function malformed(what: string): Problem {
  return new Problem('malformed_json', { detail: `The body ${what}.` });
}
