import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiBody, ApiNoContentResponse, ApiOkResponse, ApiTags, ApiUnauthorizedResponse } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Owned, Public } from '../http/caller/access.js';
import { Created } from '../http/conditional/location.js';
import { Fails } from '../http/docs/api-docs.js';
import { headers } from '../http/docs/api-headers.js';
import { CurrentCaller, CurrentOrigin, type Caller, type Origin } from '../http/caller/caller.js';
import { IdPipe } from '../http/caller/id.pipe.js';
import { loginKey } from '../common/names.js';
import { Paged } from '../http/conditional/page-link.js';
import { PageQuery, mapPage } from '../common/page.js';
import { Problem } from '../common/problem.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { UserResponse, toUserResponse } from '../users/user.dto.js';
import { UsersService } from '../users/users.service.js';
import { ACCESS_TOKEN_SECONDS } from './tokens/access-tokens.js';
import { ChangePasswordDto, LoginDto, RefreshDto, RegisterDto, TokensResponse, type KeptIn } from './auth.dto.js';
import { AuthService } from './auth.service.js';
import { PasswordService } from './passwords/password.service.js';
import { SessionCookie } from './sessions/session-cookie.js';
import { SessionPage, toSessionResponse } from './sessions/session.dto.js';
import { SessionsService, type SignIn } from './sessions/sessions.service.js';

@ApiTags('Sign-in')
@Controller('v1/auth')
export class AuthController {
  constructor(
    private readonly auth: AuthService,
    private readonly sessions: SessionsService,
    private readonly cookie: SessionCookie,
    private readonly passwords: PasswordService,
    private readonly users: UsersService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Register an account */
  @Post('register')
  @Public()
  @Idempotent()
  @Created('/v1/users/:id')
  @Fails('forbidden', 'username_taken', 'email_taken', 'credits_overprovisioned')
  @Fails('quota_exceeded', 'overloaded', 'database_unavailable')
  async register(
    @Body() dto: RegisterDto,
    @CurrentOrigin() origin: Origin,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<UserResponse> {
    // There is no caller yet, so the login separates the idempotency keys of different people.
    const credential = `register:${loginKey(dto.username ?? dto.email ?? '') ?? ''}`;
    const own = { ...attempt, request: { ...attempt.request, credential } };
    return this.idempotency.respond(own, async (tx) => toUserResponse(await this.users.register(dto, origin, tx)));
  }

  /** Sign in */
  @Post('login')
  @Public()
  @HttpCode(200)
  @Fails('invalid_credentials', 'totp_required', 'invalid_totp', 'account_disabled', 'too_many_attempts')
  @Fails('overloaded', 'database_unavailable')
  @ApiBody({
    type: LoginDto,
    examples: {
      password: { value: { login: 'ada', password: 'Analytical-1843' } },
      code: {
        summary: 'With two-factor sign-in',
        value: { login: 'ada', password: 'Analytical-1843', code: '755224' },
      },
    },
  })
  @ApiOkResponse({ type: TokensResponse, headers: headers('Set-Cookie') })
  async login(
    @Body() dto: LoginDto,
    @CurrentOrigin() origin: Origin,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TokensResponse> {
    return this.handOver(await this.auth.login(dto, origin), dto.session ?? 'token', reply);
  }

  /** Exchange a refresh token, in the body or in the cookie, for new tokens */
  @Post('refresh')
  @Public()
  @HttpCode(200)
  @Fails('invalid_token', 'account_disabled', 'forbidden', 'overloaded', 'database_unavailable')
  @ApiBody({ type: RefreshDto, required: false })
  @ApiOkResponse({ type: TokensResponse, headers: headers('Set-Cookie') })
  @ApiUnauthorizedResponse({ headers: headers('Set-Cookie') })
  async refresh(
    @Body() { refreshToken, session }: RefreshDto,
    @CurrentOrigin() origin: Origin,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TokensResponse> {
    if (refreshToken !== undefined) {
      return this.handOver(await this.sessions.refresh(refreshToken, origin), session ?? 'token', reply);
    }
    // Would hand the cookie's token to a script.
    if (session === 'token') throw Problem.field('/refreshToken', 'is required');
    return this.handOver(await this.refreshByCookie(origin, reply), 'cookie', reply);
  }

  /** Sign out: ends the session, invalidates its tokens and deletes its cookie */
  @Post('logout')
  @Owned('account')
  @HttpCode(204)
  @Fails('forbidden')
  @ApiNoContentResponse({ headers: headers('Set-Cookie') })
  async logout(@CurrentCaller() caller: Caller, @Res({ passthrough: true }) reply: FastifyReply): Promise<void> {
    const { sessionId } = caller;
    if (sessionId === null) throw new Problem('forbidden', { detail: 'A signed request has no session to end.' });
    await this.sessions.end(caller, caller.userId, sessionId);
    this.cookie.clear(reply);
  }

  /** List your sessions, newest first */
  @Get('sessions')
  @Owned('account')
  @Paged()
  @Fails('validation_failed')
  async listSessions(@Query() query: PageQuery, @CurrentCaller() caller: Caller): Promise<SessionPage> {
    return mapPage(await this.sessions.list(caller.userId, query), (session) => toSessionResponse(session, caller));
  }

  /** End one of your sessions */
  @Delete('sessions/:id')
  @Owned('account')
  @HttpCode(204)
  @Fails('not_found')
  async endSession(@Param('id', IdPipe) id: string, @CurrentCaller() caller: Caller): Promise<void> {
    if (!(await this.sessions.end(caller, caller.userId, id))) throw new Problem('not_found');
  }

  /** Change your password; ends your other sessions but keeps your signing keys */
  @Post('password')
  @Owned('account')
  @HttpCode(204)
  @Fails('invalid_credentials', 'too_many_attempts', 'overloaded')
  async changePassword(@Body() dto: ChangePasswordDto, @CurrentCaller() caller: Caller): Promise<void> {
    await this.passwords.change(caller, dto);
  }

  private async refreshByCookie(origin: Origin, reply: FastifyReply): Promise<SignIn> {
    const refreshToken = this.cookie.read(reply.request) ?? '';
    try {
      return await this.sessions.refresh(refreshToken, origin);
    } catch (error) {
      if (error instanceof Problem && error.code === 'invalid_token') this.cookie.clear(reply);
      throw error;
    }
  }

  private handOver({ accessToken, refreshToken, user }: SignIn, keptIn: KeptIn, reply: FastifyReply): TokensResponse {
    if (keptIn === 'cookie') this.cookie.set(reply, refreshToken);
    return {
      accessToken,
      tokenType: 'Bearer',
      expiresIn: ACCESS_TOKEN_SECONDS,
      ...(keptIn === 'token' ? { refreshToken } : {}),
      user: toUserResponse(user),
    };
  }
}
