import { createHash, type Hash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isEqual } from '../common/bytes.js';
import { BadSignature, readDictionary } from './signature-base.js';

/** RFC 9530, section 5: those that are not insecure. Others are not looked at. */
const ALGORITHMS = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
]);

const known = new WeakMap<FastifyRequest, ContentDigest>();

/** The `Content-Digest` of a request (RFC 9530), compared with the bytes of its body as they go by. */
export class ContentDigest {
  private readonly parts: { expected: Buffer; hash: Hash }[] = [];
  private isWhole: boolean;
  /** A hash gives its digest once. */
  private verdict: boolean | undefined;

  /** @throws BadSignature where it holds no digest that can be compared */
  constructor(field: string, hasBody: boolean) {
    this.isWhole = !hasBody;
    const members = readDictionary(field);
    if (!members) throw new BadSignature('Content-Digest is no dictionary of structured fields.');
    for (const [name, [value]] of members) {
      const algorithm = ALGORITHMS.get(name);
      if (algorithm === undefined) continue;
      if (!(value instanceof ArrayBuffer)) throw new BadSignature('Content-Digest must hold bytes.');
      this.parts.push({ expected: Buffer.from(value), hash: createHash(algorithm) });
    }
    if (this.parts.length === 0) throw new BadSignature('Content-Digest must hold sha-256 or sha-512.');
  }

  /** To be called before the body is read: whoever reads it then shares what comes. Nothing is kept. */
  watch({ raw }: FastifyRequest): void {
    raw.on('data', (chunk: Buffer) => {
      for (const { hash } of this.parts) hash.update(chunk);
    });
    raw.once('end', () => {
      this.isWhole = true;
    });
  }

  /** Whether the body has come whole and every digest is its. */
  fits(): boolean {
    if (!this.isWhole) return false;
    return (this.verdict ??= this.parts.every(({ expected, hash }) => isEqual(expected, hash.digest())));
  }
}

/** Whether a request has a body, as far as its head tells. */
export function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** @returns undefined where there is none @throws BadSignature */
export function contentDigestOf(request: FastifyRequest): ContentDigest | undefined {
  const field = request.headers['content-digest'];
  if (field === undefined) return undefined;
  const made = known.get(request) ?? new ContentDigest(String(field), hasBody(request));
  known.set(request, made);
  return made;
}

/**
 * Has the bodies of signed requests compared with their digests while they are read, on every route that is added after.
 * Others are not touched.
 */
export function watchContentDigests(server: FastifyInstance): void {
  server.addHook('preParsing', (request, _reply, payload, done) => {
    // A body of GET or HEAD is not read.
    if (request.headers['signature-input'] !== undefined && hasBody(request) && !isBodiless(request)) {
      try {
        contentDigestOf(request)?.watch(request);
      } catch {
        // Whoever judges the signature meets the same, and says it.
      }
    }
    done(null, payload);
  });
}

/** Whether a request has a method whose body is not read here. */
export function isBodiless({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}
