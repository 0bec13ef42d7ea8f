import { MAX_FIELD_ERRORS, Problem, notAllowed, type FieldError } from '../common/problem.js';
import { isStorable } from '../common/text.js';
import { CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, JsonText, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-text.js';

/** Maximum number of entries or keys in one request. */
export const MAX_ITEMS = 1_000;

/** In bytes of UTF-8. */
export const MAX_KEY_BYTES = 512;
export const MAX_VALUE_BYTES = 262_144;

/** Maximum nesting depth of a value. `[]` has depth 1. */
export const MAX_VALUE_DEPTH = 64;

/** An owner is given as an id, a username or an e-mail. */
const MAX_OWNER_LENGTH = 254;

/** 100 years. */
export const MAX_TTL_SECONDS = 3_155_760_000;

export const ON_CONFLICT = ['skip', 'replace', 'fail'] as const;

export type OnConflict = (typeof ON_CONFLICT)[number];

/** An entry to write. */
export interface NewEntry {
  key: string;
  /** JSON text in UTF-8, without whitespace outside strings. */
  value: Buffer;
  /** Null: the entry never expires. */
  ttlSeconds: number | null;
  /** The required stored version; 0: the key must not exist; −1: any version. Null: no condition. */
  ifVersion: number | null;
}

export interface WriteBody {
  entries: NewEntry[];
  onConflict: OnConflict;
  atomic: boolean;
  owner: string | undefined;
}

export interface KeysBody {
  keys: string[];
  owner: string | undefined;
}

export interface ReadBody extends KeysBody {
  onMissing: 'fail' | 'report';
}

/** A validation error of a value; undefined if the value is valid. */
type Fault = Omit<FieldError, 'pointer'> | undefined;

const UNSTORABLE = { detail: 'must not have U+0000 or lone surrogates', kind: 'form' } as const;

/** Validates a key. Its size is that of the stored form: UTF-8, escapes resolved. */
export function faultOfKey(key: string): Fault {
  if (!isStorable(key)) return UNSTORABLE;
  const bytes = Buffer.byteLength(key);
  if (bytes >= 1 && bytes <= MAX_KEY_BYTES) return undefined;
  return { detail: `must have 1 to ${MAX_KEY_BYTES} bytes`, kind: 'range' };
}

export function faultOfTtl(seconds: unknown): Fault {
  return faultOfInteger(seconds, 1, MAX_TTL_SECONDS);
}

/** Validates the name of a store's owner. */
export function faultOfOwner(owner: unknown): Fault {
  if (typeof owner !== 'string') return { detail: 'must be a string', kind: 'type' };
  if (!isStorable(owner)) return UNSTORABLE;
  if (owner.length >= 1 && owner.length <= MAX_OWNER_LENGTH) return undefined;
  return { detail: `must have 1 to ${MAX_OWNER_LENGTH} characters`, kind: 'range' };
}

function faultOfInteger(value: unknown, min: number, max: number): Fault {
  if (!Number.isInteger(value)) return { detail: 'must be an integer', kind: 'type' };
  if ((value as number) < min) return { detail: `must be at least ${min}`, kind: 'range' };
  return (value as number) > max ? { detail: `must be at most ${max}`, kind: 'range' } : undefined;
}

/** Reads a body that is a value. @throws Problem malformed_json, validation_failed, body_too_large */
export function readValue(body: Buffer): Buffer {
  const json = new JsonText(body);
  const value = json.readValue(MAX_VALUE_DEPTH, '');
  json.expectEnd();
  if (value.length > MAX_VALUE_BYTES) {
    throw new Problem('body_too_large', { detail: `A value must have at most ${MAX_VALUE_BYTES} bytes.` });
  }
  return value;
}

/** @throws Problem malformed_json, validation_failed */
export function readWriteBody(body: Buffer): WriteBody {
  const reader = new BodyReader(body);
  const result: WriteBody = { entries: [], onConflict: 'skip', atomic: false, owner: undefined };
  reader.readBody({
    entries: (pointer) => {
      const seen = new Map<string, number>();
      reader.readArray(pointer, 'entries', (each, i) => {
        const entry = reader.readEntry(each);
        if (!entry) return;
        reader.checkKey(`${each}/key`, entry.key, i, seen, '/entries');
        result.entries.push(entry);
      });
    },
    onConflict: (pointer) => {
      result.onConflict = reader.readWord(pointer, ON_CONFLICT, 'skip');
    },
    atomic: (pointer) => {
      const value = reader.json.parseValue(pointer);
      if (typeof value === 'boolean') result.atomic = value;
      else reader.fault({ pointer, detail: 'must be true or false', kind: 'type' });
    },
    owner: (pointer) => {
      result.owner = reader.readOwner(pointer);
    },
  });
  return result;
}

/** @throws Problem malformed_json, validation_failed */
export function readReadBody(body: Buffer): ReadBody {
  const result: ReadBody = { keys: [], owner: undefined, onMissing: 'fail' };
  readKeys(body, result, (reader) => ({
    onMissing: (pointer) => {
      result.onMissing = reader.readWord(pointer, ['fail', 'report'] as const, 'fail');
    },
  }));
  return result;
}

/** @throws Problem malformed_json, validation_failed */
export function readDeleteBody(body: Buffer): KeysBody {
  const result: KeysBody = { keys: [], owner: undefined };
  readKeys(body, result, () => ({}));
  return result;
}

type Members = Record<string, (pointer: string) => void>;

function readKeys(body: Buffer, result: KeysBody, more: (reader: BodyReader) => Members): void {
  const reader = new BodyReader(body);
  reader.readBody({
    keys: (pointer) => {
      const seen = new Map<string, number>();
      reader.readArray(pointer, 'keys', (each, i) => {
        const key = reader.readString(each);
        if (key === undefined) return;
        reader.checkKey(each, key, i, seen, '/keys');
        result.keys.push(key);
      });
    },
    owner: (pointer) => {
      result.owner = reader.readOwner(pointer);
    },
    ...more(reader),
  });
}

/** Reads a body member by member and collects validation errors. Throws at once for invalid JSON. */
class BodyReader {
  readonly json: JsonText;
  private readonly faults: FieldError[] = [];

  constructor(body: Buffer) {
    this.json = new JsonText(body);
  }

  /** Adds an error. @throws Problem validation_failed at the maximum number of errors, without reading the rest */
  fault(fault: FieldError): void {
    this.faults.push(fault);
    if (this.faults.length >= MAX_FIELD_ERRORS) this.throwFaults();
  }

  /** Reads the whole body: an object with these members. The first member is required. */
  readBody(members: Members): void {
    const [required = ''] = Object.keys(members);
    const found = this.readObject('', members);
    if (found && !found.has(required)) this.fault(missing(`/${required}`));
    this.json.expectEnd();
    this.throwFaults();
  }

  private throwFaults(): void {
    if (this.faults.length > 0) throw Problem.fields(this.faults);
  }

  /** @returns the names of the members that exist; undefined if the value is not an object */
  readObject(pointer: string, members: Members): Set<string> | undefined {
    const { json } = this;
    if (!json.take(OPEN_BRACE)) {
      this.refuse({ pointer, detail: pointer === '' ? 'must be a JSON object' : 'must be an object', kind: 'type' });
      return undefined;
    }
    const found = new Set<string>();
    if (json.take(CLOSE_BRACE)) return found;
    do {
      const name = json.readString();
      json.expect(COLON);
      const read = Object.hasOwn(members, name) ? members[name] : undefined;
      if (!read) this.refuse(notAllowed(`${pointer}/${escaped(name)}`));
      else if (found.has(name))
        this.refuse({ pointer: `${pointer}/${name}`, detail: 'must be given once', kind: 'unknown' });
      else read(`${pointer}/${name}`);
      found.add(name);
    } while (json.take(COMMA));
    json.expect(CLOSE_BRACE);
    return found;
  }

  /** @throws Problem validation_failed as soon as the array has too many items */
  readArray(pointer: string, what: string, readItem: (pointer: string, i: number) => void): void {
    const { json } = this;
    const wrongNumber = { pointer, detail: `must have 1 to ${MAX_ITEMS} ${what}`, kind: 'range' } as const;
    if (!json.take(OPEN_BRACKET)) {
      this.refuse({ pointer, detail: 'must be an array', kind: 'type' });
      return;
    }
    if (json.take(CLOSE_BRACKET)) {
      this.fault(wrongNumber);
      return;
    }
    let count = 0;
    do {
      if (count === MAX_ITEMS) throw Problem.fields([wrongNumber]);
      readItem(`${pointer}/${count}`, count);
      count++;
    } while (json.take(COMMA));
    json.expect(CLOSE_BRACKET);
  }

  readEntry(pointer: string): NewEntry | undefined {
    const { json } = this;
    let key: string | undefined;
    let value: Buffer | undefined;
    let ttlSeconds: number | null = null;
    let ifVersion: number | null = null;
    const found = this.readObject(pointer, {
      key: (at) => {
        key = this.readString(at);
      },
      value: (at) => {
        value = json.readValue(MAX_VALUE_DEPTH, at);
        if (value.length <= MAX_VALUE_BYTES) return;
        this.fault({ pointer: at, detail: `must have at most ${MAX_VALUE_BYTES} bytes`, kind: 'range' });
      },
      ttlSeconds: (at) => {
        ttlSeconds = this.readInteger(at, 1, MAX_TTL_SECONDS);
      },
      ifVersion: (at) => {
        ifVersion = this.readInteger(at, 0, Number.MAX_SAFE_INTEGER);
      },
    });
    if (!found) return undefined;
    for (const name of ['key', 'value']) if (!found.has(name)) this.fault(missing(`${pointer}/${name}`));
    return key === undefined || value === undefined ? undefined : { key, value, ttlSeconds, ifVersion };
  }

  /** Validates a key and rejects a duplicate. @param seen the indexes of the earlier keys */
  checkKey(pointer: string, key: string, place: number, seen: Map<string, number>, list: string): void {
    const fault = faultOfKey(key);
    const earlier = seen.get(key);
    if (fault) this.fault({ pointer, ...fault });
    else if (earlier !== undefined) {
      this.fault({ pointer, detail: `is the same key as in ${list}/${earlier}`, kind: 'range' });
    }
    seen.set(key, earlier ?? place);
  }

  readString(pointer: string): string | undefined {
    if (this.json.peek() === QUOTE) return this.json.readString();
    this.refuse({ pointer, detail: 'must be a string', kind: 'type' });
    return undefined;
  }

  private readInteger(pointer: string, min: number, max: number): number | null {
    const value = this.json.parseValue(pointer);
    const fault = faultOfInteger(value, min, max);
    if (fault) this.fault({ pointer, ...fault });
    return fault ? null : (value as number);
  }

  readWord<T extends string>(pointer: string, words: readonly T[], otherwise: T): T {
    const text = this.readString(pointer);
    const word = words.find((each) => each === text);
    if (text !== undefined && word === undefined) {
      this.fault({ pointer, detail: `must be one of: ${words.join(', ')}` });
    }
    return word ?? otherwise;
  }

  readOwner(pointer: string): string | undefined {
    const owner = this.readString(pointer);
    const fault = owner === undefined ? undefined : faultOfOwner(owner);
    if (fault) this.fault({ pointer, ...fault });
    return owner;
  }

  /** Skips a value that is not allowed here and adds an error. The value must still be valid JSON. */
  private refuse(fault: FieldError): void {
    this.json.readValue(MAX_VALUE_DEPTH, fault.pointer);
    this.fault(fault);
  }
}

/** The name of a member as part of a JSON pointer (RFC 6901). Long names are cut. */
function escaped(name: string): string {
  return name.slice(0, 64).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1');
}

function missing(pointer: string): FieldError {
  return { pointer, detail: 'is required', kind: 'missing' };
}
