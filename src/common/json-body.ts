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

/** The refusal of a compressed body: what it unpacks to has no bound. Undefined for any other. */
export function refusalOfEncoding(headers: IncomingHttpHeaders): Problem | undefined {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return undefined;
  return new Problem('unsupported_media_type', { detail: 'Send the body without Content-Encoding.' });
}

/**
 * Makes JSON the only body the server reads. Other types get 415; a compressed body too, for what it unpacks to has
 * no bound. An empty body is no body, whatever its type says: clients set `Content-Type` on a bare POST or DELETE.
 */
export function acceptJsonBodies(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  const parse = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    const text = body as string;
    const refusal = refusalOfEncoding(request.headers);
    if (text === '') {
      done(null, undefined);
    } else if (refusal) {
      done(refusal);
    } else {
      const excess = excessOf(text, MAX_DEPTH, MAX_MEMBERS);
      if (excess) done(Problem.field('', EXCESS[excess]));
      else void parse(request, text, done);
    }
  });
  acceptNoBody(server);
}

/** Takes no body for none, whatever its type says: `curl -X POST -d ''` says application/x-www-form-urlencoded of it. */
export function acceptNoBody(server: FastifyInstance): void {
  server.addContentTypeParser('*', ({ headers }, _payload, done) => {
    const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
    done(isEmpty ? null : new Problem('unsupported_media_type', { detail: 'Send application/json.' }), undefined);
  });
}
