import { isInnerList, parseDictionary, serializeInnerList, type InnerList } from 'structured-headers';

/** A request as its signer saw it: the parts of the target as they were sent, and the header lines as received. */
export interface SignedMessage {
  method: string;
  /** The target in the request line. */
  target: string;
  /** `http` or `https`, in lower case. */
  scheme: string;
  /** Host and port as the client sent them. */
  authority: string;
  /** Alternating names and values, like `rawHeaders` of Node. */
  rawHeaders: readonly string[];
}

/** The components that a signature covers, and its parameters. */
export interface SignatureInput {
  components: readonly string[];
  parameters: ReadonlyMap<string, unknown>;
  /** The signed bytes. */
  base: Buffer;
  signature: Buffer;
}

/** Says why a signature cannot be verified, in a sentence for the client. */
export class BadSignature extends Error {
  override readonly name = 'BadSignature';
}

/** Absolute form (RFC 9112, section 3.2.2): scheme, authority, and the rest. */
const ABSOLUTE = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(.*)$/is;

const DEFAULT_PORTS: Record<string, string> = { http: ':80', https: ':443' };

/**
 * Parses a structured field dictionary (RFC 9651). Returns null if it is malformed. If a key is repeated, its last
 * value counts, as the RFC requires.
 */
export function readDictionary(field: string): ReturnType<typeof parseDictionary> | null {
  try {
    return parseDictionary(field);
  } catch {
    return null;
  }
}

/**
 * Reads the signature of a request that is meant for this server: the only signature or, because a proxy may add its
 * own (RFC 9421, section 4.3), the only one whose key `isOurs` accepts.
 * @throws BadSignature if it is malformed, or if it is ambiguous which signature counts
 */
export function readSignature(
  message: SignedMessage,
  inputField: string,
  signatureField: string,
  isOurs: (keyId: unknown) => boolean,
): SignatureInput {
  const [inputs, signatures] = [readDictionary(inputField), readDictionary(signatureField)];
  if (!inputs?.size) throw new BadSignature('Signature-Input is not a structured field dictionary.');
  if (!signatures?.size) throw new BadSignature('Signature is not a structured field dictionary.');
  const meant = [...inputs].filter(([, [, parameters]]) => inputs.size === 1 || isOurs(parameters.get('keyid')));
  const [first, ...more] = meant;
  if (!first || more.length > 0) throw new BadSignature('Send exactly one signature made with a key registered here.');
  const [label, input] = first;
  if (!isInnerList(input)) throw new BadSignature('Signature-Input must list the covered components.');
  const [signature] = signatures.get(label) ?? [];
  if (!(signature instanceof ArrayBuffer))
    throw new BadSignature('Signature must have a byte sequence with the same label.');
  const components = componentsOf(input);
  return {
    components,
    parameters: input[1],
    base: makeBase(message, input, components),
    signature: Buffer.from(signature),
  };
}

/** RFC 9421, section 2. Components with parameters and duplicates are rejected. */
function componentsOf([items]: InnerList): string[] {
  const names = items.map(([name, parameters]) => {
    if (typeof name !== 'string')
      throw new BadSignature('Signature-Input must list the covered components as strings.');
    if (parameters.size > 0) throw new BadSignature('Covered components with parameters are not supported.');
    return name;
  });
  if (new Set(names).size < names.length) throw new BadSignature('No component may be covered twice.');
  return names;
}

/**
 * RFC 9421, section 2.5. Encodes the bytes as received: Node gives each byte of a header or target as one character.
 */
function makeBase(message: SignedMessage, input: InnerList, components: readonly string[]): Buffer {
  const [derived, fields] = [deriveAll(message), readFields(message)];
  const lines = components.map((name) => {
    const value = derived.get(name) ?? fields.get(name);
    if (value === undefined) throw new BadSignature('The signature covers a component that the request does not have.');
    return `"${name}": ${value}`;
  });
  return Buffer.from([...lines, `"@signature-params": ${serializeInnerList(input)}`].join('\n'), 'latin1');
}

/** RFC 9421, section 2.2. */
function deriveAll(message: SignedMessage): Map<string, string> {
  const { method, target } = message;
  // A target in absolute form contains the host, and the Host header is ignored (RFC 9112, section 3.2.2).
  const [, scheme = '', host = '', rest = ''] = ABSOLUTE.exec(target) ?? [
    '',
    message.scheme,
    message.authority,
    target,
  ];
  const at = scheme.toLowerCase();
  const authority = normalizeAuthority(at, host);
  const [path, query] = splitTarget(rest);
  return new Map([
    ['@method', method],
    ['@authority', authority],
    ['@scheme', at],
    ['@request-target', target],
    ['@target-uri', `${at}://${authority}${path}${query ?? ''}`],
    ['@path', path],
    ['@query', query ?? '?'],
  ]);
}

/** Splits a target into path and query. The query includes its question mark, and is undefined if there is none. */
export function splitTarget(target: string): [path: string, query: string | undefined] {
  // A router may end the path, and begin the query, at `#` too. The text after it would then not be covered.
  if (target.includes('#')) throw new BadSignature('The target of a signed request must not have a fragment.');
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  return [path === '' ? '/' : path, mark === -1 ? undefined : target.slice(mark)];
}

/** Returns whether a request has a query that is not empty. */
export function hasQuery({ target }: SignedMessage): boolean {
  return (splitTarget(target)[1]?.length ?? 0) > 1;
}

/** RFC 9421, section 2.2.3: lower case, without the default port of the scheme. */
function normalizeAuthority(scheme: string, authority: string): string {
  const name = authority.toLowerCase();
  const port = DEFAULT_PORTS[scheme];
  return port !== undefined && name.endsWith(port) ? name.slice(0, -port.length) : name;
}

/**
 * RFC 9421, section 2.1: joins the lines of each field in order, without surrounding white space. Reads all fields in
 * one pass: one scan per covered field would take quadratic time.
 */
function readFields({ rawHeaders }: SignedMessage): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name, value] = [(rawHeaders[i] ?? '').toLowerCase(), trim(rawHeaders[i + 1] ?? '')];
    const before = fields.get(name);
    fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return fields;
}

/** Trims spaces and tabs only. `String.trim` would also remove U+00A0, which is a byte of the value here. */
function trim(value: string): string {
  const isBlank = (at: number): boolean => value[at] === ' ' || value[at] === '\t';
  let [start, end] = [0, value.length];
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return value.slice(start, end);
}
