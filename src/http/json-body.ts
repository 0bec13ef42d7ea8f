import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { RawBodyRequest } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Problem } from '../common/problem.js';
import { declaredOptions } from './route-options.js';

/** Deeper than any documented body, and shallow enough for every recursive function that processes it. */
const MAX_DEPTH = 100;

/**
 * Maximum number of members and elements in one body, over all levels. Far above any documented body, and low enough
 * for class-transformer, whose time grows with the square of an object's members: 90,000 took four seconds.
 */
const MAX_MEMBERS = 2_000;

const EXCESS = {
  depth: `must not nest deeper than ${String(MAX_DEPTH)} levels`,
  members: `must not have more than ${String(MAX_MEMBERS)} members`,
};

/**
 * Checks in one pass, without parsing, whether brackets nest deeper than `maxDepth` (reported first) or the text has
 * `maxMembers` commas. Ignores both inside strings.
 */
function excessOf(json: string, maxDepth: number, maxMembers: number): 'depth' | 'members' | undefined {
  let depth = 0;
  let commas = 0;
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    const unit = json.charCodeAt(i);
    if (inString) {
      if (unit === 0x5c /* \ */) i++;
      else if (unit === 0x22 /* " */) inString = false;
    } else if (unit === 0x22) inString = true;
    else if (unit === 0x2c /* , */) commas++;
    else if (unit === 0x7b /* { */ || unit === 0x5b /* [ */) {
      if (++depth > maxDepth) return 'depth';
    } else if (unit === 0x7d || unit === 0x5d) depth--;
  }
  return commas >= maxMembers ? 'members' : undefined;
}

/** Whether brackets nest deeper than `max`, without parsing. Brackets inside strings do not count. */
export function nestsDeeperThan(json: string, max: number): boolean {
  return excessOf(json, max, Infinity) === 'depth';
}

/**
 * Rejects a compressed body, because its decompressed size has no limit, and a charset other than UTF-8, which JSON
 * between systems requires (RFC 8259, section 8.1). Returns undefined for any other body.
 */
function refusalOfEncoding(headers: IncomingHttpHeaders): Problem | undefined {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers;
  if (encoding.toLowerCase() !== 'identity') {
    return new Problem('unsupported_media_type', { detail: 'Send the body without Content-Encoding.' });
  }
  const charset = /;\s*charset\s*=\s*"?([^\s";]*)/i.exec(type)?.[1] ?? 'utf-8';
  if (/^utf-?8$/i.test(charset)) return undefined;
  return new Problem('unsupported_media_type', { detail: 'Send the body in UTF-8.' });
}

/** Whether the parser reads a body with these headers: JSON in UTF-8, not compressed. */
export function isReadable(headers: IncomingHttpHeaders): boolean {
  return /^application\/json *(;|$)/i.test(headers['content-type'] ?? '') && !refusalOfEncoding(headers);
}

/**
 * Makes JSON the only body type that the server reads. Other types and compressed bodies get 415. An empty body counts
 * as no body, whatever its type: clients set `Content-Type` on a POST or DELETE without a body. A route can take the
 * bytes of its body (`rawBody`): parsing would round numbers and drop repeated names.
 */
export function acceptJsonBodies(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = body as Buffer;
    const refusal = bytes.length > 0 ? refusalOfEncoding(request.headers) : undefined;
    if (!refusal && declaredOptions(request.routeOptions).rawBody) {
      (request as RawBodyRequest<FastifyRequest>).rawBody = bytes;
      done(null, bytes);
    } else if (bytes.length === 0) {
      done(null, undefined);
    } else if (refusal) {
      done(refusal);
    } else if (!isUtf8(bytes)) {
      // Lenient decoding would make passwords equal that differ only in invalid bytes.
      done(new Problem('malformed_json', { detail: 'The body is not UTF-8.' }));
    } else {
      const text = bytes.toString();
      const excess = excessOf(text, MAX_DEPTH, MAX_MEMBERS);
      if (excess) done(Problem.field('', EXCESS[excess]));
      else finish(text, done);
    }
  });
  acceptNoBody(server);
}

/**
 * Parses with JSON.parse, which treats `__proto__` like any other member. Fastify's parser would report malformed JSON;
 * here the validation pipe rejects the member with its pointer.
 */
function finish(text: string, done: (error: Error | null, body?: unknown) => void): void {
  let body: unknown;
  try {
    body = JSON.parse(text.replace(/^\ufeff/, ''));
  } catch {
    done(new Problem('malformed_json'));
    return;
  }
  done(null, body);
}

/** Accepts an empty body of any type: `curl -X POST -d ''` sends application/x-www-form-urlencoded. */
function acceptNoBody(server: FastifyInstance): void {
  server.addContentTypeParser('*', ({ headers }, _payload, done) => {
    const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
    done(isEmpty ? null : new Problem('unsupported_media_type', { detail: 'Send application/json.' }), undefined);
  });
}
