import { createHash } from 'node:crypto';
import { applyDecorators, createParamDecorator, SetMetadata, type ExecutionContext } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiExtension, ApiHeader } from '@nestjs/swagger';
import type { FastifyRequest, onSendHookHandler, preSerializationHookHandler } from 'fastify';
import { markOf } from './api-docs.js';
import { HEADERS, type Operation } from './api-headers.js';
import { readTags, type Tags } from './entity-tags.js';
import { Problem } from './problem.js';
import { addVary } from './vary.js';

/** A route that answers with an `ETag` of its content and honours `If-None-Match`. */
export const Tagged = (): MethodDecorator =>
  applyDecorators(RouteConfig({ tagged: true }), ApiExtension(TAGGED, true), ApiHeader(IF_NONE_MATCH));

/** A route that changes an object with an `ETag` and honours `If-Match`. Its service calls `requireVersion`. */
export const Conditional = (): MethodDecorator =>
  applyDecorators(
    RouteConfig({ tagged: true }),
    SetMetadata(CONDITIONAL, true),
    ApiExtension(TAGGED, true),
    ApiHeader(IF_MATCH),
  );

export const CONDITIONAL = 'quartermaster:conditional';

export const TAGGED = 'x-tagged';

const IF_NONE_MATCH = {
  ...{ name: 'If-None-Match', required: false, schema: { type: 'string' } },
  description: 'Answer 304 without the content if it still has this `ETag`',
};

const IF_MATCH = {
  ...{ name: 'If-Match', required: false, schema: { type: 'string' } },
  description: 'Change it only if it still has this `ETag`: 412 `version_mismatch` otherwise',
};

/** Completes an operation of the document that is `Tagged` or `Conditional`, or makes an object that is. */
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
    operation.responses[304] = { description: 'It still has the `ETag` of `If-None-Match`', headers: { ETag: etag } };
  }
}

/** What a request requires of the object that it changes. */
export interface Preconditions {
  match: Tags | undefined;
  noneMatch: Tags | undefined;
}

/** Injects what `requireVersion` judges. */
export const CurrentPreconditions = createParamDecorator((_data: unknown, context: ExecutionContext): Preconditions => {
  const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
  return { match: readTags(headers, 'If-Match'), noneMatch: readTags(headers, 'If-None-Match') };
});

/** Whether a request requires anything: a service need not read a version for those that do not. */
export function isConditional({ match, noneMatch }: Preconditions): boolean {
  return match !== undefined || noneMatch !== undefined;
}

/**
 * Judges `If-Match` and `If-None-Match` of a change. Call it in the transaction of the change, with the object locked: of
 * two writers with the same tag the second one then sees what the first has written.
 * @param body the object as the API answers it
 * @throws Problem version_mismatch
 */
export function requireVersion(preconditions: Preconditions, body: object): void {
  if (!isConditional(preconditions)) return;
  const { match, noneMatch } = preconditions;
  const { version } = versionOf(body);
  const names = (tags: Tags): boolean => tags === '*' || tags.some((tag) => tag.split('.', 1)[0] === version);
  if ((match && !names(match)) || (noneMatch && names(noneMatch))) throw new Problem('version_mismatch');
}

/** What use changes in an answer. It has no part in the version, or nobody could change a key while it is in use. */
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

/** The version, and behind a dot what use has changed: `If-Match` compares the former, `If-None-Match` of a GET both. */
function tagOf(body: object): string {
  const { version, use } = versionOf(body);
  return use.length === 0 ? `"${version}"` : `"${version}.${hash(JSON.stringify(use))}"`;
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** Whether `If-None-Match` names a tag: weak comparison (RFC 9110, section 13.1.2). */
export function matchesTag(header: string, tag: string): boolean {
  const opaque = (text: string): string => text.trim().replace(/^W\//, '');
  return header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
}

/** Tags an object that is answered. */
export const tagBody: preSerializationHookHandler = (request, reply, payload, done) => {
  const body = payload as object;
  reply.header('etag', tagOf(body));
  if (!isRead(request)) {
    done(null, payload);
    return;
  }
  reply.header('cache-control', 'private, no-cache');
  addVary(reply, 'accept-encoding');
  try {
    requireVersion({ match: readTags(request.headers, 'If-Match'), noneMatch: undefined }, body);
    done(null, payload);
  } catch (error) {
    done(error as Error);
  }
};

/** The codings that an answer may have, none included, as they stand in its tag. */
const CODINGS = ['', '-br', '-gzip'];

/**
 * Answers 304 without the content to a client that has it already. The content was read from the database all the same:
 * only its way to the client is saved.
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

/** Gives a compressed answer a tag of its own (RFC 9110, section 8.8.3.3): a strong tag stands for the bytes. */
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
