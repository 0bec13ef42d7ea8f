import { createHash } from 'node:crypto';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';
import Negotiator from 'negotiator';
import { matchesTag } from './conditional/etag.js';
import { addVary } from './conditional/vary.js';

/** A constant text that anyone can request, so it is compressed only once. Send it from a route with `compress: false`. */
export interface PackedText {
  etag: string;
  /** Bodies by content coding, best first. */
  codings: Map<string, Buffer>;
}

export function packText(text: string | Buffer): PackedText {
  const plain = Buffer.from(text);
  return {
    etag: `W/"${createHash('sha1').update(plain).digest('base64url')}"`,
    codings: new Map([
      ['br', brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })],
      ['gzip', gzipSync(plain)],
      ['identity', plain],
    ]),
  };
}

/** Sends a text, or 304 if the client already has it. Clients must revalidate it before each use. */
export function sendPacked(request: FastifyRequest, reply: FastifyReply, { etag, codings }: PackedText): FastifyReply {
  addVary(reply, 'accept-encoding');
  reply.headers({ etag, 'cache-control': 'no-cache' });
  if (matchesTag(request.headers['if-none-match'] ?? '', etag)) return reply.code(304).send();
  // A client that accepts no coding gets the plain text.
  const coding = new Negotiator(request).encoding([...codings.keys()]) ?? 'identity';
  if (coding !== 'identity') reply.header('content-encoding', coding);
  return reply.send(codings.get(coding));
}
