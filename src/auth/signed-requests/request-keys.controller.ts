import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { Owned } from '../../http/caller/access.js';
import { Fails } from '../../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../../http/caller/caller.js';
import { Created } from '../../http/conditional/location.js';
import { IdPipe } from '../../http/caller/id.pipe.js';
import { Paged } from '../../http/conditional/page-link.js';
import { PageQuery, mapPage } from '../../common/page.js';
import { Idempotency, type Attempt } from '../../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../../idempotency/idempotent.js';
import { CreateSigningKeyDto, NewSigningKeyResponse, SigningKeyPage, toSigningKeyResponse } from './request-key.dto.js';
import { RequestKeysService } from './request-keys.service.js';

@ApiTags('Sign-in')
@Controller('v1/auth/signing-keys')
export class RequestKeysController {
  constructor(
    private readonly keys: RequestKeysService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Register a public key for signed requests (RFC 9421), or let the server generate a key pair */
  @Post()
  @Owned('account')
  @Idempotent()
  @Created('/v1/auth/signing-keys/:id', { isTagged: false })
  @Fails('forbidden', 'not_found')
  @ApiBody({
    type: CreateSigningKeyDto,
    examples: {
      pair: { summary: 'Let the server generate a key pair', value: { name: 'my server' } },
      own: { summary: 'Register your own public key', value: { name: 'my server', publicKey: '<PEM, JWK or base64>' } },
    },
  })
  async register(
    @Body() dto: CreateSigningKeyDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<NewSigningKeyResponse> {
    // `respond` stores its result for replays, so the private key is added to the response afterwards.
    let privateKey: string | undefined;
    const answer = await this.idempotency.respond(attempt, async (tx) => {
      const made = await this.keys.register(dto, caller, tx);
      privateKey = made.privateKey;
      return toSigningKeyResponse(made.key);
    });
    return privateKey === undefined ? answer : { ...answer, privateKey };
  }

  /** List your signing keys, newest first */
  @Get()
  @Owned('account')
  @Paged()
  @Fails('validation_failed')
  async list(@Query() query: PageQuery, @CurrentCaller() caller: Caller): Promise<SigningKeyPage> {
    return mapPage(await this.keys.list(caller, query), toSigningKeyResponse);
  }

  /** Revoke one of your signing keys: requests signed with it are rejected from now on */
  @Delete(':id')
  @Owned('account')
  @HttpCode(204)
  @Fails('not_found')
  async revoke(@Param('id', IdPipe) id: string, @CurrentCaller() caller: Caller): Promise<void> {
    await this.keys.revoke(id, caller);
  }
}
