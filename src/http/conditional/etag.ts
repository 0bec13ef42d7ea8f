import { hash as digest } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { applyDecorators, createParamDecorator, SetMetadata, type ExecutionContext } from '@nestjs/common';
import { ApiExtension, ApiHeader } from '@nestjs/swagger';
import type { FastifyRequest, onSendHookHandler, preSerializationHookHandler } from 'fastify';
import { markOf } from '../docs/api-docs.js';
import { HEADERS, type Operation } from '../docs/api-headers.js';
import { readTags, type Tags } from './entity-tags.js';
import { Problem } from '../../common/problem.js';
import { Declare } from '../route-options.js';
import { addVary } from './vary.js';

/** A route that returns an `ETag` of its content and supports `If-None-Match`. */
export const Tagged = (): MethodDecorator =>
  applyDecorators(Declare({ tagged: true }), ApiExtension(TAGGED, true), ApiHeader(IF_NONE_MATCH));

/** A route that changes an object with an `ETag` and supports `If-Match`. Its service calls `requireVersion`. */
export const Conditional = (): MethodDecorator =>
  applyDecorators(
    Declare({ tagged: true }),
    SetMetadata(CONDITIONAL, true),
    ApiExtension(TAGGED, true),
    ApiHeader(IF_MATCH),
  );

/** A route that returns an `ETag` that it sets itself, and supports `If-Match` and `If-None-Match`. */
export const Versioned = (): MethodDecorator =>
  applyDecorators(
    Declare({ versioned: true }),
    ApiHeader({ ...IF_MATCH, description: VERSIONED.match }),
    ApiHeader({ ...IF_NONE_MATCH, description: VERSIONED.noneMatch }),
  );

/** A route that changes an object with such an `ETag`. Its service evaluates both headers. */
export const VersionedChange = (): MethodDecorator =>
  applyDecorators(
    SetMetadata(CONDITIONAL, true),
    ApiHeader({ ...IF_MATCH, description: VERSIONED.match }),
    ApiHeader({ ...IF_NONE_MATCH, description: VERSIONED.noneMatch }),
  );

/** A route that changes several objects, to none of which `If-Match` could refer. It ignores the header. */
export const Unconditional = (): MethodDecorator =>
  applyDecorators(SetMetadata(CONDITIONAL, true), ApiExtension(UNCONDITIONAL, true));

export const CONDITIONAL = 'quartermaster:conditional';

/** The extension of an operation that ignores `If-Match`, while the OpenAPI document is built. */
export const UNCONDITIONAL = 'x-unconditional';

export const TAGGED = 'x-tagged';

const IF_NONE_MATCH = {
  ...{ name: 'If-None-Match', required: false, schema: { type: 'string' } },
  description: 'Return 304 without the content if the object still has this `ETag`',
};

const IF_MATCH = {
  ...{ name: 'If-Match', required: false, schema: { type: 'string' } },
  description: 'Change the object only if it still has this `ETag`; otherwise 412 `version_mismatch`',
};

const VERSIONED = {
  match: 'Proceed only if the stored version has this ETag; `*`: only if the entry exists',
  noneMatch: 'Proceed only if the stored version does not have this ETag; `*`: only if the entry does not exist',
};

/** Documents `ETag` for an operation that is `Tagged` or `Conditional`, or that creates a tagged object. */
export function documentTag(operation: Operation, isRead: boolean): void {
  if (!Reflect.has(operation, TAGGED)) return;
  Reflect.deleteProperty(operation, TAGGED);
  const etag = { ...HEADERS.ETag, required: true };
  for (const status of [200, 201]) {
    const response = operation.responses[status];
    if (response && 'description' in response) response.headers = { ...response.headers, ETag: etag };
  }
  if (isRead) {
    Object.assign(operation, Object.fromEntries([markOf('version_mismatch')]));
    operation.responses[304] = {
      description: 'The object still has the `ETag` of `If-None-Match`',
      headers: { ETag: etag },
    };
  }
}

/** The conditions of a request on the object that it changes. */
export interface Preconditions {
  match: Tags | undefined;
  noneMatch: Tags | undefined;
}

/** @throws Problem validation_failed if a header is not a list of entity tags */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions {
  return { match: readTags(headers, 'If-Match'), noneMatch: readTags(headers, 'If-None-Match') };
}

/** Injects the preconditions for `requireVersion`. */
export const CurrentPreconditions = createParamDecorator((_data: unknown, context: ExecutionContext): Preconditions =>
  readPreconditions(context.switchToHttp().getRequest<FastifyRequest>().headers),
);

/** Whether a request has preconditions. Without them a service need not read the version. */
export function isConditional({ match, noneMatch }: Preconditions): boolean {
  return match !== undefined || noneMatch !== undefined;
}

/**
 * Checks `If-Match` and `If-None-Match` of a change. Call it in the transaction of the change, with the object locked:
 * of two writers with the same tag, the second then sees the first one's change.
 * @param body the object as the API returns it
 * @throws Problem version_mismatch
 */
export function requireVersion(preconditions: Preconditions, body: object): void {
  if (!isConditional(preconditions)) return;
  const { match, noneMatch } = preconditions;
  const { version } = versionOf(body);
  const names = (tags: Tags): boolean => tags === '*' || tags.some((tag) => tag.split('.', 1)[0] === version);
  if ((match && !names(match)) || (noneMatch && names(noneMatch))) throw new Problem('version_mismatch');
}

/** Fields that change through use. They are not part of the version: a key in use could never be changed otherwise. */
const USE: ReadonlySet<string> = new Set(['lastLoginAt', 'lastUsedAt', 'used', 'remaining', 'resetsAt']);

function versionOf(body: object): { version: string; use: unknown[] } {
  const use: unknown[] = [];
  const state = JSON.stringify(body, (name, value: unknown) => {
    if (!USE.has(name)) return value;
    use.push(value);
    return undefined;
  });
  return { version: hash(state), use };
}

/**
 * The tag: the version, then a dot and the hash of the USE fields. `If-Match` compares the version only, a GET both.
 */
function tagOf(body: object): string {
  const { version, use } = versionOf(body);
  return use.length === 0 ? `"${version}"` : `"${version}.${hash(JSON.stringify(use))}"`;
}

function hash(text: string): string {
  return digest('sha256', text, 'hex').slice(0, 32);
}

/** Whether `If-None-Match` names a tag: weak comparison (RFC 9110, section 13.1.2). */
export function matchesTag(header: string, tag: string): boolean {
  const opaque = (text: string): string => text.trim().replace(/^W\//, '');
  return header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
}

/** Sets the `ETag` of a response. */
export const tagBody: preSerializationHookHandler = (request, reply, payload, done) => {
  const body = payload as object;
  try {
    // First, because a 400 has no ETag.
    const match = isRead(request) ? readTags(request.headers, 'If-Match') : undefined;
    reply.header('etag', tagOf(body));
    if (isRead(request)) {
      reply.header('cache-control', 'private, no-cache');
      addVary(reply, 'accept-encoding');
      requireVersion({ match, noneMatch: undefined }, body);
    }
    done(null, payload);
  } catch (error) {
    done(error as Error);
  }
};

/** The tag suffixes of the possible content codings; the empty one is for an uncompressed response. */
const CODINGS = ['', '-br', '-gzip'];

/**
 * Returns 304 without the content if the client already has it. The content is still read from the database: this saves
 * only its transfer.
 */
export const answerKnown: onSendHookHandler = (request, reply, payload, done) => {
  const [known, etag] = [request.headers['if-none-match'], reply.getHeader('etag')];
  const isTagged = isRead(request) && reply.statusCode === 200 && typeof etag === 'string';
  const named =
    known !== undefined && isTagged
      ? CODINGS.map((coding) => withCoding(etag, coding)).find((each) => matchesTag(known, each))
      : undefined;
  if (named === undefined) {
    done(null, payload);
    return;
  }
  reply.code(304).header('etag', named).removeHeader('content-length').removeHeader('content-type');
  done(null, null);
};

/** Gives a compressed response a separate tag (RFC 9110, section 8.8.3.3): a strong tag identifies the exact bytes. */
export const tagCoding: onSendHookHandler = (request, reply, payload, done) => {
  const [etag, coding] = [reply.getHeader('etag'), reply.getHeader('content-encoding')];
  if (isRead(request) && typeof etag === 'string' && etag.startsWith('"') && typeof coding === 'string') {
    reply.header('etag', withCoding(etag, `-${coding}`));
  }
  done(null, payload);
};

function withCoding(etag: string, coding: string): string {
  return `${etag.slice(0, -1)}${coding}"`;
}

function isRead({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}
