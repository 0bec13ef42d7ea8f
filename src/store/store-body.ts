import { Problem, type FieldError } from '../common/problem.js';
import { isStorable } from '../common/text.js';
import { CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, JsonText, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-text.js';

/** Entries or keys of one request. */
export const MAX_ITEMS = 1_000;

/** Bytes of UTF-8. */
export const MAX_KEY_BYTES = 512;
export const MAX_VALUE_BYTES = 262_144;

/** Levels of a value: `[]` has one. */
export const MAX_VALUE_DEPTH = 64;

/** A hundred years. */
export const MAX_TTL_SECONDS = 3_155_760_000;

export const ON_CONFLICT = ['skip', 'replace', 'fail'] as const;

export type OnConflict = (typeof ON_CONFLICT)[number];

/** An entry that is to be written. */
export interface NewEntry {
  key: string;
  /** JSON text without blanks outside strings, in UTF-8. */
  value: Buffer;
  /** Null: it stays. */
  ttlSeconds: number | null;
  /** The version that must be there: 0 none, −1 any. Null: whatever is there. */
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

/** What is wrong with a key; undefined where nothing is. Its bytes are those of the stored form: UTF-8, escapes resolved. */
export function faultOfKey(key: string): string | undefined {
  const bytes = Buffer.byteLength(key);
  if (bytes < 1 || bytes > MAX_KEY_BYTES) return `must have 1 to ${MAX_KEY_BYTES} bytes`;
  return isStorable(key) ? undefined : 'must not have U+0000 or lone surrogates';
}

export function faultOfTtl(seconds: unknown): string | undefined {
  return isWhole(seconds, 1, MAX_TTL_SECONDS) ? undefined : `must be a whole number from 1 to ${MAX_TTL_SECONDS}`;
}

/** What is wrong with a name for the owner of a store; undefined where nothing is. */
export function faultOfOwner(owner: unknown): string | undefined {
  const isName = typeof owner === 'string' && owner.length >= 1 && owner.length <= 254 && isStorable(owner);
  return isName ? undefined : 'must be the id, username or e-mail of a user';
}

/** The value that is a body. @throws Problem malformed_json, validation_failed, body_too_large */
export function readValue(body: Buffer): Buffer {
  const json = new JsonText(body);
  const value = json.readValue(MAX_VALUE_DEPTH, '');
  json.expectEnd();
  if (value.length > MAX_VALUE_BYTES) {
    throw new Problem('body_too_large', { detail: `A value has ${MAX_VALUE_BYTES} bytes at most.` });
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
      else reader.fault(pointer, 'must be true or false');
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

/** Faults that are named; nobody mends more at once. */
const MAX_FAULTS = 100;

/** Reads a body member by member, and gathers what is wrong with it. What is no JSON is thrown at once. */
class BodyReader {
  readonly json: JsonText;
  private readonly faults: FieldError[] = [];

  constructor(body: Buffer) {
    this.json = new JsonText(body);
  }

  /** @throws Problem validation_failed when there are too many already: the rest is not looked at */
  fault(pointer: string, detail: string): void {
    this.faults.push({ pointer, detail });
    if (this.faults.length >= MAX_FAULTS) this.throwFaults();
  }

  /** Reads the whole body: an object with these members, the first of which must be there. */
  readBody(members: Members): void {
    const [required = ''] = Object.keys(members);
    const found = this.readObject('', members);
    if (found && !found.has(required)) this.fault(`/${required}`, ruleOf(required));
    this.json.expectEnd();
    this.throwFaults();
  }

  private throwFaults(): void {
    if (this.faults.length > 0) throw new Problem('validation_failed', { errors: this.faults });
  }

  /** @returns the names of the members that are there; undefined if it is no object */
  readObject(pointer: string, members: Members): Set<string> | undefined {
    const { json } = this;
    if (!json.take(OPEN_BRACE)) {
      this.refuse(pointer, 'must be a JSON object');
      return undefined;
    }
    const found = new Set<string>();
    if (json.take(CLOSE_BRACE)) return found;
    do {
      const name = json.readString();
      json.expect(COLON);
      const member = `${pointer}/${name.slice(0, 64).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1')}`;
      const read = Object.hasOwn(members, name) ? members[name] : undefined;
      if (!read) this.refuse(member, 'is not known here');
      else if (found.has(name)) this.refuse(member, 'is given twice');
      else read(member);
      found.add(name);
    } while (json.take(COMMA));
    json.expect(CLOSE_BRACE);
    return found;
  }

  /** @throws Problem validation_failed as soon as there are too many */
  readArray(pointer: string, what: string, readItem: (pointer: string, i: number) => void): void {
    const { json } = this;
    const rule = ruleOf(what);
    if (!json.take(OPEN_BRACKET)) {
      this.refuse(pointer, rule);
      return;
    }
    if (json.take(CLOSE_BRACKET)) {
      this.fault(pointer, rule);
      return;
    }
    let count = 0;
    do {
      if (count === MAX_ITEMS) throw Problem.field(pointer, rule);
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
        if (value.length > MAX_VALUE_BYTES) this.fault(at, `must have at most ${MAX_VALUE_BYTES} bytes`);
      },
      ttlSeconds: (at) => {
        const seconds = json.parseValue(at);
        const fault = faultOfTtl(seconds);
        if (fault === undefined) ttlSeconds = seconds as number;
        else this.fault(at, fault);
      },
      ifVersion: (at) => {
        const version = json.parseValue(at);
        if (isWhole(version, 0, Number.MAX_SAFE_INTEGER)) ifVersion = version;
        else this.fault(at, 'must be a version, or 0 where none may be');
      },
    });
    if (!found) return undefined;
    for (const name of ['key', 'value']) if (!found.has(name)) this.fault(`${pointer}/${name}`, 'must be given');
    return key === undefined || value === undefined ? undefined : { key, value, ttlSeconds, ifVersion };
  }

  /** Checks a key, and that no earlier one is the same. @param seen the places of the earlier ones */
  checkKey(pointer: string, key: string, place: number, seen: Map<string, number>, list: string): void {
    const fault = faultOfKey(key);
    const earlier = seen.get(key);
    if (fault !== undefined) this.fault(pointer, fault);
    else if (earlier !== undefined) this.fault(pointer, `is the same as that of ${list}/${earlier}`);
    seen.set(key, earlier ?? place);
  }

  readString(pointer: string): string | undefined {
    if (this.json.peek() === QUOTE) return this.json.readString();
    this.refuse(pointer, 'must be a string');
    return undefined;
  }

  readWord<T extends string>(pointer: string, words: readonly T[], otherwise: T): T {
    const text = this.readString(pointer);
    const word = words.find((each) => each === text);
    if (text !== undefined && word === undefined) this.fault(pointer, `must be one of: ${words.join(', ')}`);
    return word ?? otherwise;
  }

  readOwner(pointer: string): string | undefined {
    const owner = this.readString(pointer);
    const fault = owner === undefined ? undefined : faultOfOwner(owner);
    if (fault !== undefined) this.fault(pointer, fault);
    return owner;
  }

  /** Goes over a value that may not be here, which must be JSON all the same. */
  private refuse(pointer: string, detail: string): void {
    this.json.readValue(MAX_VALUE_DEPTH, pointer);
    this.fault(pointer, detail);
  }
}

function ruleOf(what: string): string {
  return `must be an array of 1 to ${MAX_ITEMS} ${what}`;
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}
