import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { Problem } from './problem.js';

/** Deeper than any body of the contract, and shallow enough for every recursive function that meets it. */
const MAX_DEPTH = 100;

/**
 * Members and elements in one body, all levels together. Far above any body of the contract, and low enough for
 * class-transformer, whose time grows with the square of an object's members: 90,000 took it four seconds.
 */
const MAX_MEMBERS = 2_000;

const EXCESS = {
  depth: `must not nest deeper than ${String(MAX_DEPTH)} levels`,
  members: `must not have more than ${String(MAX_MEMBERS)} members`,
};

/**
 * What a text has too much of, told in one pass and without parsing: brackets that nest deeper than `maxDepth`, before
 * all else, or `maxMembers` commas. Inside strings neither counts.
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

/** Whether brackets nest deeper than `max`, told without parsing. Brackets inside strings do not count. */
export function nestsDeeperThan(json: string, max: number): boolean {
  return excessOf(json, max, Infinity) === 'depth';
}

/**
 * The refusal of a compressed body, for what it unpacks to has no bound, and of one that says that it is not UTF-8, which
 * JSON between systems is (RFC 8259, section 8.1). Undefined for any other.
 */
export function refusalOfEncoding(headers: IncomingHttpHeaders): Problem | undefined {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers;
  if (encoding.toLowerCase() !== 'identity') {
    return new Problem('unsupported_media_type', { detail: 'Send the body without Content-Encoding.' });
  }
  const charset = /;\s*charset\s*=\s*"?([^\s";]*)/i.exec(type)?.[1] ?? 'utf-8';
  if (/^utf-?8$/i.test(charset)) return undefined;
  return new Problem('unsupported_media_type', { detail: 'Send the body in UTF-8.' });
}

/**
 * Makes JSON the only body the server reads. Other types get 415; a compressed body too, for what it unpacks to has
 * no bound. An empty body is no body, whatever its type says: clients set `Content-Type` on a bare POST or DELETE.
 */
export function acceptJsonBodies(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = body as Buffer;
    const refusal = refusalOfEncoding(request.headers);
    if (bytes.length === 0) {
      done(null, undefined);
    } else if (refusal) {
      done(refusal);
    } else if (!isUtf8(bytes)) {
      // Decoded all the same, passwords that differ in such bytes would be one.
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
 * Parses with JSON.parse, which makes a member `__proto__` like any other. Fastify's parser calls it broken JSON; here the
 * validation pipe refuses it and says where it is.
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

/** Takes no body for none, whatever its type says: `curl -X POST -d ''` says application/x-www-form-urlencoded of it. */
export function acceptNoBody(server: FastifyInstance): void {
  server.addContentTypeParser('*', ({ headers }, _payload, done) => {
    const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
    done(isEmpty ? null : new Problem('unsupported_media_type', { detail: 'Send application/json.' }), undefined);
  });
}
