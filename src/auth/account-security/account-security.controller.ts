import { Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { AdminOnly, SelfOrAdmin } from '../../http/caller/access.js';
import { Fails } from '../../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../../http/caller/caller.js';
import { IdPipe } from '../../http/caller/id.pipe.js';
import { Created } from '../../http/conditional/location.js';
import { Paged } from '../../http/conditional/page-link.js';
import { PageQuery, mapPage } from '../../common/page.js';
import { SessionPage, toSessionResponse } from '../sessions/session.dto.js';
import { AccountSecurityService } from './account-security.service.js';
import { AccountSecurityResponse, ResetLinkResponse } from '../recovery/recovery.dto.js';

@ApiTags('Users')
@Controller('v1/users')
export class AccountSecurityController {
  constructor(private readonly accounts: AccountSecurityService) {}

  /** Read the security settings of an account */
  @Get(':user/security')
  @SelfOrAdmin('user')
  @Fails('not_found')
  async get(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<AccountSecurityResponse> {
    const { emailConfirmedAt, totpEnabledAt, ...counts } = await this.accounts.get(user, caller);
    return {
      emailConfirmedAt: emailConfirmedAt?.toISOString() ?? null,
      totpEnabledAt: totpEnabledAt?.toISOString() ?? null,
      ...counts,
    };
  }

  /** List the sessions of an account, newest first */
  @Get(':user/sessions')
  @SelfOrAdmin('user')
  @Paged()
  @Fails('not_found')
  async listSessions(
    @Param('user') user: string,
    @Query() query: PageQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<SessionPage> {
    return mapPage(await this.accounts.listSessions(user, query, caller), (each) => toSessionResponse(each, caller));
  }

  /** End a session of an account */
  @Delete(':user/sessions/:id')
  @SelfOrAdmin('user')
  @HttpCode(204)
  @Fails('not_found')
  async endSession(
    @Param('user') user: string,
    @Param('id', IdPipe) id: string,
    @CurrentCaller() caller: Caller,
  ): Promise<void> {
    await this.accounts.endSession(user, id, caller);
  }

  /** Create a link that sets a new password; the previous link becomes invalid */
  @Post(':user/reset-link')
  @AdminOnly()
  @Created('/v1/users/:user/security', { isTagged: false })
  @Fails('not_found')
  async makeResetLink(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<ResetLinkResponse> {
    const { url, token, expiresAt } = await this.accounts.makeResetLink(user, caller);
    return { url, token, expiresAt: expiresAt.toISOString() };
  }

  /** Disable two-factor sign-in of a user who has lost the authenticator and the recovery codes */
  @Delete(':user/totp')
  @AdminOnly()
  @HttpCode(204)
  @ApiOperation({ operationId: 'Totp_remove' })
  @Fails('not_found')
  async disableTotp(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<void> {
    await this.accounts.disableTotp(user, caller);
  }
}
