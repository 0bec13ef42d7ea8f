import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ByteBudget } from '../common/byte-budget.js';
import type { AuthenticatedRequest, Authentication, Caller, Claims } from '../common/caller.js';
import { acceptNoBody, refusalOfEncoding } from '../common/json-body.js';
import { nextPageOf } from '../common/page-link.js';
import { Problem, notAllowed, type FieldError } from '../common/problem.js';
import { refuse, toProblem } from '../common/problem.filter.js';
import type { RequestValidationPipe } from '../common/validation.pipe.js';
import { addVary } from '../common/vary.js';
import type { Idempotency } from '../idempotency/idempotency.js';
import { toRepeatable } from '../idempotency/idempotent.js';
import { holds, readPreconditions, tagOf } from './preconditions.js';
import {
  faultOfKey,
  faultOfOwner,
  faultOfTtl,
  readDeleteBody,
  readReadBody,
  readValue,
  readWriteBody,
} from './store-body.js';
import { ListStoreQuery } from './store.dto.js';
import type { StoreListing, StoreService } from './store.service.js';

/** Body limit of a batch: enough for 1,000 entries of usual size. */
const BATCH_BYTES = 16_777_216;

/** Larger bodies count against the byte budget and are read only after the session is verified. */
const SMALL_BYTES = 65_536;

const JSON_TYPE = 'application/json; charset=utf-8';

interface StoreParts {
  store: StoreService;
  authentication: Authentication;
  idempotency: Idempotency;
  /** Limits the bytes in flight: all responses and large request bodies. */
  budget: ByteBudget;
  pipe: RequestValidationPipe;
}

interface KeyRoute {
  Params: { key: string };
}

type StoreRequest = AuthenticatedRequest & { claims?: Claims | null };
type KeyRequest = StoreRequest & FastifyRequest<KeyRoute>;

/**
 * Serves `/v1/store`. The routes are outside Nest, like `/call`: values must reach the database as the received bytes,
 * and Nest's body parser would turn them into objects. All routes have one access rule: any signed-in user may access
 * the user's own store, and an administrator may access any store.
 */
export async function serveStore(
  server: FastifyInstance,
  { store, authentication, idempotency, budget, pipe }: StoreParts,
): Promise<void> {
  await server.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, readBytes);
    acceptNoBody(scope);
    scope.setErrorHandler((error, request, reply) => {
      refuse(error, toProblem(error) ?? new Problem('not_found'), request, reply);
    });
    scope.decorateRequest('claims', null);
    // Runs before the body is read. The handler checks again, because a session can end while a large body arrives.
    scope.addHook('onRequest', (request: StoreRequest, reply, next) => {
      request.claims = authentication.claimsOf(request);
      const size = sizeOfBody(request);
      if (size <= SMALL_BYTES) next();
      else {
        authentication
          .admit(request.claims, request)
          .then((caller) => {
            request.caller = caller;
            budget.hold(size, reply.raw);
          })
          .then(() => {
            next();
          }, next);
      }
    });

    scope.get('/v1/store', async (request: StoreRequest, reply) => {
      const caller = await callerOf(request);
      const query = (await pipe.transform(request.query, {
        type: 'query',
        metatype: ListStoreQuery,
      })) as ListStoreQuery;
      const listing = await store.list(query, caller);
      if (listing.nextCursor !== null) reply.header('link', nextPageOf(request.url, listing.nextCursor));
      return sendJson(reply, toJson(listing));
    });

    scope.post('/v1/store/write', { bodyLimit: BATCH_BYTES }, async (request: StoreRequest, reply) => {
      const caller = await callerOf(request);
      readQuery(request, []);
      const bytes = bodyOf(request);
      const body = readWriteBody(bytes);
      const repeatable = toRepeatable(request, caller.userId, 'user');
      repeatable.body = repeatable.key === undefined ? null : createHash('sha256').update(bytes).digest('base64');
      return idempotency.respond({ request: repeatable, reply }, async (tx) =>
        store.write(await store.ownerOf(body.owner, caller, tx), body, tx),
      );
    });

    scope.post('/v1/store/read', { bodyLimit: BATCH_BYTES }, async (request: StoreRequest, reply) => {
      const caller = await callerOf(request);
      readQuery(request, []);
      const { owner, ...wanted } = readReadBody(bodyOf(request));
      return sendJson(reply, await store.read(await store.ownerOf(owner, caller), wanted));
    });

    scope.post('/v1/store/delete', { bodyLimit: BATCH_BYTES }, async (request: StoreRequest) => {
      const caller = await callerOf(request);
      readQuery(request, []);
      const { keys, owner } = readDeleteBody(bodyOf(request));
      return store.deleteAll(await store.ownerOf(owner, caller), keys);
    });

    scope.get<KeyRoute>('/v1/store/:key', { config: { versioned: true } }, async (request: KeyRequest, reply) => {
      const { owner, key, match } = await understood(request, () => ({
        ...readQuery(request, ['owner']),
        ...{ key: keyOf(request), ...readPreconditions(request.headers) },
      }));
      const found = await readingAs(request, owner, (ownerId) => store.find(ownerId, key));
      if (!found) throw new Problem('not_found');
      reply.header('etag', tagOf(found.version)).header('cache-control', 'private, no-cache');
      if (!holds({ match, noneMatch: undefined }, found.version)) throw new Problem('version_mismatch');
      addVary(reply, 'accept-encoding');
      return sendJson(reply, found.value);
    });

    scope.put<KeyRoute>('/v1/store/:key', async (request: KeyRequest, reply) => {
      const caller = await callerOf(request);
      const { owner, ttl } = readQuery(request, ['owner', 'ttl']);
      const key = keyOf(request);
      const conditions = readPreconditions(request.headers);
      const value = readValue(valueOf(request));
      const ownerId = await store.ownerOf(owner, caller);
      const { isNew, version } = await store.put(ownerId, key, value, ttl ?? null, conditions);
      reply.code(isNew ? 201 : 200).header('etag', tagOf(version));
      if (isNew) reply.header('location', locationOf(key, owner));
      return { key, version };
    });

    scope.delete<KeyRoute>('/v1/store/:key', async (request: KeyRequest, reply) => {
      const caller = await callerOf(request);
      const { owner } = readQuery(request, ['owner']);
      const key = keyOf(request);
      await store.delete(await store.ownerOf(owner, caller), key, readPreconditions(request.headers));
      return reply.code(204).send();
    });

    done();
  });

  function sendJson(reply: FastifyReply, text: string): FastifyReply {
    return reply.type(JSON_TYPE).send(text);
  }

  async function callerOf(request: StoreRequest): Promise<Caller> {
    return (request.caller = await authentication.identify(claimsOf(request), request));
  }

  /** Parses a request. If parsing fails, authenticates first, so that only valid callers get validation errors. */
  async function understood<T>(request: StoreRequest, read: () => T): Promise<T> {
    try {
      return read();
    } catch (error) {
      await callerOf(request);
      throw error;
    }
  }

  /** Reads concurrently with the session and account check, and returns the result only if the check passes. */
  async function readingAs<T>(
    request: StoreRequest,
    owner: string | undefined,
    read: (ownerId: string) => Promise<T>,
  ): Promise<T> {
    const { userId } = claimsOf(request);
    if (owner !== undefined || userId === null) return read(await store.ownerOf(owner, await callerOf(request)));
    const reading = read(userId);
    // Prevents an unhandled rejection if the read fails first; the error is thrown below.
    reading.catch(() => undefined);
    await callerOf(request);
    return reading;
  }
}

/** Keeps a body as bytes. A missing body is an empty one. */
function readBytes(
  request: FastifyRequest,
  body: string | Buffer,
  done: (error: Error | null, body?: Buffer) => void,
): void {
  const refusal = body.length > 0 ? refusalOfEncoding(request.headers) : undefined;
  if (refusal) done(refusal);
  else done(null, body as Buffer);
}

/** The expected size of a body in bytes; the body limit if the headers do not state a size. */
function sizeOfBody(request: FastifyRequest): number {
  const { 'content-length': length = 0, 'transfer-encoding': coding } = request.headers;
  const size = coding === undefined ? Number(length) : Infinity;
  return size <= SMALL_BYTES ? size : Math.min(size, request.routeOptions.bodyLimit);
}

/** Returns the body of a batch. @throws Problem validation_failed if it is missing, like every other route */
function bodyOf({ body }: FastifyRequest): Buffer {
  if (Buffer.isBuffer(body) && body.length > 0) return body;
  throw Problem.field('', 'is required');
}

/** Returns a body that is a value. @throws Problem malformed_json if it is missing: empty text is not JSON */
function valueOf({ body }: FastifyRequest): Buffer {
  if (Buffer.isBuffer(body)) return body;
  throw new Problem('malformed_json', { detail: 'Send JSON as the body.' });
}

function claimsOf({ claims }: StoreRequest): Claims {
  if (!claims) throw new Error('A request without claims passed authentication');
  return claims;
}

/** @throws Problem validation_failed; not_found if the key is empty: `/v1/store/` is not a route */
function keyOf({ params }: KeyRequest): string {
  if (params.key === '') throw new Problem('not_found');
  const fault = faultOfKey(params.key);
  if (fault) throw Problem.fields([{ pointer: '/key', ...fault }]);
  return params.key;
}

/** Returns the `Location` of an entry. @param owner as given in the request; undefined: the caller */
function locationOf(key: string, owner: string | undefined): string {
  return `/v1/store/${encodeURIComponent(key)}${owner === undefined ? '' : `?owner=${encodeURIComponent(owner)}`}`;
}

/** Reads the query of a route that accepts these parameters. @throws Problem validation_failed */
function readQuery(
  { query }: FastifyRequest,
  known: readonly ('owner' | 'ttl')[],
): { owner?: string | undefined; ttl?: number | undefined } {
  const given = query as Record<string, unknown>;
  const names = Object.keys(given);
  if (names.length === 0) return {};
  const { owner, ttl } = given;
  const seconds = typeof ttl === 'string' && /^\d{1,12}$/.test(ttl) ? Number(ttl) : ttl;
  const faults: FieldError[] = names.flatMap((name): FieldError[] => {
    const pointer = `/${name}`;
    if (!known.some((each) => each === name)) return [notAllowed(pointer)];
    if (Array.isArray(given[name])) return [{ pointer, detail: 'must be given once', kind: 'type' }];
    const fault = name === 'owner' ? faultOfOwner(owner) : faultOfTtl(seconds);
    return fault ? [{ pointer, ...fault }] : [];
  });
  if (faults.length > 0) throw Problem.fields(faults);
  return { owner: owner as string | undefined, ttl: seconds as number | undefined };
}

/** Serializes a page. Inserts values as their stored JSON text. */
function toJson({ data, nextCursor }: StoreListing): string {
  const items = data.map(({ text, ...item }) => {
    const json = JSON.stringify(item);
    return text === null ? json : `${json.slice(0, -1)},"value":${text}}`;
  });
  return `{"data":[${items.join(',')}],"nextCursor":${JSON.stringify(nextCursor)}}`;
}
