import { isInnerList, parseDictionary, serializeInnerList, type InnerList } from 'structured-headers';

/** A request as its signer saw it: the parts of its target as they were sent, its header lines as they came. */
export interface SignedMessage {
  method: string;
  /** Of the request line. */
  target: string;
  /** `http` or `https`, in lower case. */
  scheme: string;
  /** Host and port as the client wrote them. */
  authority: string;
  /** Names and values in turn, as Node has them (`rawHeaders`). */
  rawHeaders: readonly string[];
}

/** What a signature says it covers, and the parameters it came with. */
export interface SignatureInput {
  components: readonly string[];
  parameters: ReadonlyMap<string, unknown>;
  /** What was signed, byte for byte. */
  base: Buffer;
  signature: Buffer;
}

/** Why a signature cannot be judged; a sentence for the client. */
export class BadSignature extends Error {
  override readonly name = 'BadSignature';
}

/** Absolute form (RFC 9112, section 3.2.2): scheme, authority, and the rest. */
const ABSOLUTE = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(.*)$/is;

const DEFAULT_PORTS: Record<string, string> = { http: ':80', https: ':443' };

/**
 * The members of a structured field that is a dictionary (RFC 9651); null where it is none. Of repeated keys the last
 * counts, as the RFC has it.
 */
export function readDictionary(field: string): ReturnType<typeof parseDictionary> | null {
  try {
    return parseDictionary(field);
  } catch {
    return null;
  }
}

/**
 * Reads the one signature of a request that is meant for this server: the only one; or, since a proxy may have added its
 * own (RFC 9421, section 4.3), the only one whose key is `isOurs`.
 * @throws BadSignature for what is no signature, and where it is not clear which one counts
 */
export function readSignature(
  message: SignedMessage,
  inputField: string,
  signatureField: string,
  isOurs: (keyId: unknown) => boolean,
): SignatureInput {
  const [inputs, signatures] = [readDictionary(inputField), readDictionary(signatureField)];
  if (!inputs?.size) throw new BadSignature('Signature-Input is no dictionary of structured fields.');
  if (!signatures?.size) throw new BadSignature('Signature is no dictionary of structured fields.');
  const meant = [...inputs].filter(([, [, parameters]]) => inputs.size === 1 || isOurs(parameters.get('keyid')));
  const [first, ...more] = meant;
  if (!first || more.length > 0) throw new BadSignature('Send one signature with a key of this server.');
  const [label, input] = first;
  if (!isInnerList(input)) throw new BadSignature('Signature-Input must list what is covered.');
  const [signature] = signatures.get(label) ?? [];
  if (!(signature instanceof ArrayBuffer)) throw new BadSignature('Signature must have bytes under the same label.');
  const components = componentsOf(input);
  return {
    components,
    parameters: input[1],
    base: makeBase(message, input, components),
    signature: Buffer.from(signature),
  };
}

/** RFC 9421, section 2: without parameters, none twice. */
function componentsOf([items]: InnerList): string[] {
  const names = items.map(([name, parameters]) => {
    if (typeof name !== 'string') throw new BadSignature('Signature-Input must name what is covered by strings.');
    if (parameters.size > 0) throw new BadSignature('Covered components with parameters are not known here.');
    return name;
  });
  if (new Set(names).size < names.length) throw new BadSignature('Nothing may be covered twice.');
  return names;
}

/** RFC 9421, section 2.5. In the bytes that came: Node gives each byte of a header or target as one character. */
function makeBase(message: SignedMessage, input: InnerList, components: readonly string[]): Buffer {
  const [derived, fields] = [deriveAll(message), readFields(message)];
  const lines = components.map((name) => {
    const value = derived.get(name) ?? fields.get(name);
    if (value === undefined) throw new BadSignature('Something is covered that the request does not have.');
    return `"${name}": ${value}`;
  });
  return Buffer.from([...lines, `"@signature-params": ${serializeInnerList(input)}`].join('\n'), 'latin1');
}

/** RFC 9421, section 2.2. */
function deriveAll(message: SignedMessage): Map<string, string> {
  const { method, target } = message;
  // In absolute form the target says where it goes, and Host is ignored (RFC 9112, section 3.2.2).
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

/** Path and query of a target, the query with its question mark; undefined where there is none. */
export function splitTarget(target: string): [path: string, query: string | undefined] {
  // A router ends the path, and begins the query, there as well: what stands behind it would be covered by nothing.
  if (target.includes('#')) throw new BadSignature('The address of a signed request has no fragment.');
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  return [path === '' ? '/' : path, mark === -1 ? undefined : target.slice(mark)];
}

/** Whether a request has a query that says anything. */
export function hasQuery({ target }: SignedMessage): boolean {
  return (splitTarget(target)[1]?.length ?? 0) > 1;
}

/** RFC 9421, section 2.2.3: in lower case, without the scheme's default port. */
function normalizeAuthority(scheme: string, authority: string): string {
  const name = authority.toLowerCase();
  const port = DEFAULT_PORTS[scheme];
  return port !== undefined && name.endsWith(port) ? name.slice(0, -port.length) : name;
}

/**
 * RFC 9421, section 2.1: the lines of each field in their order, without white space around them. Read once: with a look
 * through all of them for each that is covered, the work would grow with the square of the head.
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

/** Blanks and tabs only: to `trim`, U+00A0 is white space too, and there it is a byte of the value. */
function trim(value: string): string {
  const isBlank = (at: number): boolean => value[at] === ' ' || value[at] === '\t';
  let [start, end] = [0, value.length];
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return value.slice(start, end);
}
