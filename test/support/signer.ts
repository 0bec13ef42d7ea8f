import { createHash, generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto';
import { request } from 'node:http';
import { answerTo, type Answer } from './answer.js';
import type { Api } from './api.js';

/** A registered key with its private key. */
export interface SigningKey {
  id: string;
  privateKey: KeyObject;
}

/** A request to sign. It is also what is sent, unless a test tampers with it. */
export interface Signed {
  method: string;
  /** The request target. */
  target: string;
  authority: string;
  /** Headers other than those of the signature. */
  headers: Record<string, string>;
  body: string | Buffer | undefined;
}

/** Deviations from a default signature. */
export interface Otherwise {
  /** Replaces the default components. */
  components?: string[];
  /** Overrides parameters, as serialized text; undefined omits one. */
  parameters?: Record<string, string | undefined>;
  /** Overrides Content-Digest; undefined omits it. */
  digest?: string | undefined;
  scheme?: string;
}

/** Registers a new key for the user of `api`. */
export async function registerKey(api: Api): Promise<SigningKey> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const pem = publicKey.export({ format: 'pem', type: 'spki' });
  const { status, text, body } = await api.post('/v1/auth/signing-keys', { name: 'a key', publicKey: pem });
  if (status !== 201) throw new Error(`Registering a key answered ${String(status)}: ${text}`);
  return { id: body.id, privateKey };
}

export function digestOf(body: string | Buffer, algorithm: 256 | 512 = 256): string {
  return `sha-${algorithm}=:${createHash(`sha${algorithm}`).update(body).digest('base64')}:`;
}

/** Returns the Unix time in seconds. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}

/**
 * Returns the signature headers (RFC 9421). Implemented independently of the server, so that an error in one is not
 * repeated in the other.
 */
export function signatureOf(key: SigningKey, signed: Signed, otherwise: Otherwise = {}): Record<string, string> {
  const { method, target, authority, headers, body } = signed;
  const mark = target.indexOf('?');
  const [path, query] = mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark)];
  const hasBody = body !== undefined && body.length > 0;
  const digest = 'digest' in otherwise ? otherwise.digest : hasBody ? digestOf(body) : undefined;
  const values: Record<string, string | undefined> = {
    ...headers,
    ...(digest === undefined ? {} : { 'content-digest': digest }),
    ...{ '@method': method, '@authority': authority, '@path': path, '@query': query === '' ? '?' : query },
    ...{ '@scheme': otherwise.scheme ?? 'http', '@request-target': target },
    '@target-uri': `${otherwise.scheme ?? 'http'}://${authority}${target}`,
  };
  const usual = ['@method', '@authority', '@path', ...(query === '' ? [] : ['@query'])];
  const components = otherwise.components ?? [...usual, ...(digest === undefined ? [] : ['content-digest'])];
  const parameters: Record<string, string | undefined> = {
    ...{ created: String(now()), nonce: `"${randomUUID()}"`, keyid: `"${key.id}"`, alg: '"ed25519"' },
    ...otherwise.parameters,
  };
  const written = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`;${name}=${value}`],
  );
  const input = `(${components.map((name) => `"${name}"`).join(' ')})${written.join('')}`;
  const lines = components.map((name) => `"${name}": ${values[name] ?? ''}`);
  const base = [...lines, `"@signature-params": ${input}`].join('\n');
  return {
    ...(digest === undefined ? {} : { 'content-digest': digest }),
    'signature-input': `sig=${input}`,
    signature: `sig=:${sign(null, Buffer.from(base, 'latin1'), key.privateKey).toString('base64')}:`,
  };
}

/** A request as sent: header lines are unchanged, and repeated names are repeated lines. */
export interface Sent {
  method: string;
  target: string;
  headers: (readonly [string, string])[];
  body?: string | Buffer | undefined;
}

/** Sends a request unchanged. */
export function send(url: string, { method, target, headers, body }: Sent): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const sent = request({ hostname, port, method, path: target, agent: false, headers: headers.flat() as never });
  sent.end(body);
  return answerTo(sent);
}

/** Signs and sends the requests of one user to one server. */
export class Signer {
  constructor(
    readonly url: string,
    readonly key: SigningKey,
  ) {}

  at(url: string): Signer {
    return new Signer(url, this.key);
  }

  /** Builds a request to sign. Buffers are sent unchanged, other bodies as JSON. */
  request(method: string, target: string, body?: unknown, headers: Record<string, string> = {}): Signed {
    const text = body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const type = text === undefined || Buffer.isBuffer(text) ? {} : { 'content-type': 'application/json' };
    return { method, target, authority: new URL(this.url).host, headers: { ...type, ...headers }, body: text };
  }

  /** Signs a request. The result can be sent several times. */
  sign(signed: Signed, otherwise?: Otherwise): Sent & { headers: [string, string][] } {
    const { method, target, authority, headers, body } = signed;
    const hasLength = body !== undefined || !['GET', 'HEAD', 'DELETE'].includes(method);
    const length = hasLength ? { 'content-length': String(Buffer.byteLength(body ?? '')) } : {};
    const all = { host: authority, ...headers, ...length, ...signatureOf(this.key, signed, otherwise) };
    return { method, target, headers: Object.entries(all), body };
  }

  send(method: string, target: string, body?: unknown, otherwise?: Otherwise & { headers?: Record<string, string> }) {
    return send(this.url, this.sign(this.request(method, target, body, otherwise?.headers), otherwise));
  }
}
