import { createHash, type Hash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest, preParsingHookHandler } from 'fastify';
import { isEqual } from '../../common/bytes.js';
import { declaredOptions } from '../../http/route-options.js';
import { BadSignature, readDictionary } from './signature-base.js';

/** The algorithms that RFC 9530, section 5, does not call insecure. Other algorithms are ignored. */
const ALGORITHMS = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
]);

const known = new WeakMap<FastifyRequest, ContentDigest>();

/** The `Content-Digest` of a request (RFC 9530). Compares it with the body while the body is read. */
export class ContentDigest {
  private readonly parts: { expected: Buffer; hash: Hash }[] = [];
  private isWhole: boolean;
  /** Cached, because `Hash.digest()` can be called only once. */
  private verdict: boolean | undefined;

  /** @throws BadSignature if the field is malformed or has no supported digest */
  constructor(field: string, hasBody: boolean) {
    this.isWhole = !hasBody;
    const members = readDictionary(field);
    if (!members) throw new BadSignature('Content-Digest is not a structured field dictionary.');
    for (const [name, [value]] of members) {
      const algorithm = ALGORITHMS.get(name);
      if (algorithm === undefined) continue;
      if (!(value instanceof ArrayBuffer)) throw new BadSignature('Content-Digest must hold a byte sequence.');
      this.parts.push({ expected: Buffer.from(value), hash: createHash(algorithm) });
    }
    if (this.parts.length === 0) throw new BadSignature('Content-Digest must hold sha-256 or sha-512.');
  }

  /** Hashes the body while another consumer reads it, and stores no data. Call it before the body is read. */
  watch({ raw }: FastifyRequest): void {
    raw.on('data', (chunk: Buffer) => {
      for (const { hash } of this.parts) hash.update(chunk);
    });
    raw.once('end', () => {
      this.isWhole = true;
    });
  }

  /** Returns whether the whole body was received and matches every digest. */
  fits(): boolean {
    if (!this.isWhole) return false;
    return (this.verdict ??= this.parts.every(({ expected, hash }) => isEqual(expected, hash.digest())));
  }
}

/** Returns whether a request has a body, according to its headers. */
export function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Returns the digest of a request, or undefined if it has none. @throws BadSignature */
export function contentDigestOf(request: FastifyRequest): ContentDigest | undefined {
  const field = request.headers['content-digest'];
  if (field === undefined) return undefined;
  const made = known.get(request) ?? new ContentDigest(String(field), hasBody(request));
  known.set(request, made);
  return made;
}

/** Hashes the bodies of signed requests while they are read. Other requests are not touched. */
export function watchContentDigests(server: FastifyInstance): void {
  server.addHook('onRoute', (route) => {
    if (!declaredOptions(route).passesOn) route.preParsing = [route.preParsing ?? [], watch].flat();
  });
}

const watch: preParsingHookHandler = (request, _reply, payload, done) => {
  // The body of a GET or HEAD request is not read.
  if (request.headers['signature-input'] !== undefined && hasBody(request) && !isBodiless(request)) {
    try {
      contentDigestOf(request)?.watch(request);
    } catch {
      // The signature check runs into the same error and reports it.
    }
  }
  done(null, payload);
};

/** Returns whether a request has a method whose body the server does not read. */
export function isBodiless({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}
