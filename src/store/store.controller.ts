import {
  Controller,
  Delete,
  Get,
  Header,
  HttpCode,
  Param,
  Post,
  Put,
  Query,
  RawBody,
  Req,
  Res,
  applyDecorators,
} from '@nestjs/common';
import {
  ApiBody,
  ApiCreatedResponse,
  ApiExtension,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiResponse,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Owned } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { PAGED_MARK } from '../http/docs/api-headers.js';
import { CurrentCaller, type AuthenticatedRequest, type Caller } from '../http/caller/caller.js';
import {
  CurrentPreconditions,
  Unconditional,
  Versioned,
  VersionedChange,
  type Preconditions,
} from '../http/conditional/etag.js';
import { nextPageOf } from '../http/conditional/page-link.js';
import { Problem, required } from '../common/problem.js';
import { ReadAhead } from '../http/caller/read-ahead.js';
import { Declare } from '../http/route-options.js';
import { addVary } from '../http/conditional/vary.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { holds, tagOf, toVersions } from './preconditions.js';
import { faultOfKey, type KeysBody, type ReadBody, type WriteBody } from './store-body.js';
import {
  DeleteDto,
  DeleteResponse,
  EntryQuery,
  ListStoreQuery,
  PutEntryQuery,
  PutResponse,
  ReadDto,
  ReadResponse,
  StorePage,
  WriteDto,
  WriteResponse,
} from './store.dto.js';
import { DeleteBodyPipe, KeyPipe, ReadBodyPipe, ValuePipe, WriteBodyPipe } from './store.pipes.js';
import type { Found } from './store.repository.js';
import { StoreService, type StoreListing } from './store.service.js';

/** Body limit of a batch: enough for 1,000 entries of usual size. */
const BATCH_BYTES = 16_777_216;

const ETAG = {
  ETag: { required: true, description: 'The version of the entry', schema: { type: 'string', example: '"42"' } },
} as const;

const VALUE = { schema: { description: 'Any JSON' }, example: { items: ['tea', 'sugar'], total: 12.5 } };

/** Values are stored as JSON text, and sent as they are stored. */
const SendsJson = () => Header('content-type', 'application/json; charset=utf-8');

/** A batch operation: its body is read as bytes. */
const Batch = () => applyDecorators(HttpCode(200), Declare({ rawBody: true, bodyLimit: BATCH_BYTES }), Unconditional());

/** Values reach the database as the received bytes, and responses contain them as they are stored. */
@ApiTags('Store')
@Controller('v1/store')
export class StoreController {
  constructor(
    private readonly store: StoreService,
    private readonly idempotency: Idempotency,
    reads: ReadAhead,
  ) {
    // eslint-disable-next-line @typescript-eslint/unbound-method
    reads.declare(StoreController.prototype.get, (userId, { params, query }) => {
      const { key } = params as { key: string };
      const isOwn = Object.keys(query as object).length === 0 && faultOfKey(key) === undefined;
      return isOwn ? store.find(userId, key) : undefined;
    });
  }

  /** List keys in order, optionally with their values */
  @Get()
  @Owned()
  @ApiExtension(PAGED_MARK, true)
  @SendsJson()
  @Fails('validation_failed', 'forbidden', 'not_found')
  @ApiOkResponse({ description: 'One page', type: StorePage })
  async list(
    @Query() query: ListStoreQuery,
    @CurrentCaller() caller: Caller,
    @Req() { originalUrl }: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const page = await this.store.list(query, caller);
    if (page.nextCursor !== null) reply.header('link', nextPageOf(originalUrl, page.nextCursor));
    return toJson(page);
  }

  /** Write up to 1,000 entries and return a result for each */
  @Post('write')
  @Owned()
  @Batch()
  @Idempotent()
  @Fails('forbidden', 'not_found', 'version_mismatch', 'quota_exceeded')
  @ApiBody({ type: WriteDto })
  @ApiOkResponse({ description: 'The result', type: WriteResponse })
  async write(
    @RawBody(WriteBodyPipe) body: WriteBody,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<WriteResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      this.store.write(await this.store.ownerOf(body.owner, caller, tx), body, tx),
    );
  }

  /** Read up to 1,000 entries in one snapshot */
  @Post('read')
  @Owned()
  @Batch()
  @SendsJson()
  @Fails('forbidden', 'not_found', 'keys_not_found', 'body_too_large')
  @ApiBody({ type: ReadDto })
  @ApiOkResponse({ description: 'The result', type: ReadResponse })
  async read(@RawBody(ReadBodyPipe) { owner, ...wanted }: ReadBody, @CurrentCaller() caller: Caller): Promise<string> {
    return this.store.read(await this.store.ownerOf(owner, caller), wanted);
  }

  /** Delete up to 1,000 entries and release their quota */
  @Post('delete')
  @Owned()
  @Batch()
  @Fails('forbidden', 'not_found')
  @ApiBody({ type: DeleteDto })
  @ApiOkResponse({ description: 'The result', type: DeleteResponse })
  async delete(
    @RawBody(DeleteBodyPipe) { owner, keys }: KeysBody,
    @CurrentCaller() caller: Caller,
  ): Promise<DeleteResponse> {
    return this.store.deleteAll(await this.store.ownerOf(owner, caller), keys);
  }

  /** Read a value exactly as it was written */
  @Get(':key')
  @Owned()
  @Versioned()
  @SendsJson()
  @Fails('forbidden', 'not_found', 'version_mismatch')
  @ApiOkResponse({ description: 'The value', headers: ETAG, content: { 'application/json': VALUE } })
  @ApiResponse({ status: 304, description: 'The stored version is one that `If-None-Match` names', headers: ETAG })
  async get(
    @Param('key', KeyPipe) key: string,
    @Query() { owner }: EntryQuery,
    @CurrentPreconditions() preconditions: Preconditions,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const { ahead } = reply.request as AuthenticatedRequest;
    const found = await (ahead ?? this.store.find(await this.store.ownerOf(owner, caller), key));
    const { value, version } = required(found as Found | null);
    reply.headers({ etag: tagOf(version), 'cache-control': 'private, no-cache' });
    const { match } = toVersions(preconditions);
    if (!holds({ match, noneMatch: undefined }, version)) throw new Problem('version_mismatch');
    addVary(reply, 'accept-encoding');
    return value;
  }

  /** Write the request body as the value */
  @Put(':key')
  @Owned()
  @VersionedChange()
  @Declare({ rawBody: true })
  @Fails('forbidden', 'not_found', 'version_mismatch', 'quota_exceeded')
  @ApiBody({ schema: { description: 'Any JSON' }, examples: { value: { value: VALUE.example } } })
  @ApiOkResponse({ description: 'Replaced', headers: ETAG, type: PutResponse })
  @ApiCreatedResponse({ description: 'Created', headers: ETAG, type: PutResponse })
  async put(
    @Param('key', KeyPipe) key: string,
    @Query() { owner, ttl }: PutEntryQuery,
    @CurrentPreconditions() preconditions: Preconditions,
    @RawBody(ValuePipe) value: Buffer,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PutResponse> {
    const ownerId = await this.store.ownerOf(owner, caller);
    const { isNew, version } = await this.store.put(ownerId, key, value, ttl ?? null, toVersions(preconditions));
    reply.code(isNew ? 201 : 200).header('etag', tagOf(version));
    if (isNew) reply.header('location', reply.server.basePath + locationOf(key, owner));
    return { key, version };
  }

  /** Delete an entry and release its quota */
  @Delete(':key')
  @Owned()
  @HttpCode(204)
  @VersionedChange()
  @Fails('forbidden', 'not_found', 'version_mismatch')
  @ApiOperation({ operationId: 'Store_delete_one' })
  @ApiNoContentResponse({ description: 'Deleted' })
  async deleteOne(
    @Param('key', KeyPipe) key: string,
    @Query() { owner }: EntryQuery,
    @CurrentPreconditions() preconditions: Preconditions,
    @CurrentCaller() caller: Caller,
  ): Promise<void> {
    await this.store.delete(await this.store.ownerOf(owner, caller), key, toVersions(preconditions));
  }
}

/** Returns the `Location` of an entry. @param owner as given in the request; undefined: the caller */
function locationOf(key: string, owner: string | undefined): string {
  return `/v1/store/${encodeURIComponent(key)}${owner === undefined ? '' : `?owner=${encodeURIComponent(owner)}`}`;
}

/** Serializes a page. Inserts values as their stored JSON text. */
function toJson({ data, nextCursor }: StoreListing): string {
  const items = data.map(({ text, ...item }) => {
    const json = JSON.stringify(item);
    return text === null ? json : `${json.slice(0, -1)},"value":${text}}`;
  });
  return `{"data":[${items.join(',')}],"nextCursor":${JSON.stringify(nextCursor)}}`;
}
