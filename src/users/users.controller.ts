import { Body, Controller, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly, SelfOrAdmin } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Conditional, CurrentPreconditions, Tagged, type Preconditions } from '../http/conditional/etag.js';
import { Created } from '../http/conditional/location.js';
import { Paged } from '../http/conditional/page-link.js';
import { mapPage } from '../common/page.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { CreateUserDto, ListUsersQuery, UpdateUserDto, UserPage, UserResponse, toUserResponse } from './user.dto.js';
import { UsersService } from './users.service.js';

@ApiTags('Users')
@Controller('v1/users')
export class UsersController {
  constructor(
    private readonly users: UsersService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Create an account */
  @Post()
  @AdminOnly()
  @Idempotent()
  @Created('/v1/users/:id')
  @Fails('username_taken', 'email_taken', 'credits_overprovisioned', 'quota_exceeded')
  @ApiBody({
    type: CreateUserDto,
    examples: {
      user: { value: { username: 'grace', email: 'grace@example.com', password: 'Compiler-A0-1952', credits: 10 } },
    },
  })
  async create(
    @Body() dto: CreateUserDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<UserResponse> {
    return this.idempotency.respond(attempt, async (tx) => toUserResponse(await this.users.create(dto, caller, tx)));
  }

  /** List accounts, newest first */
  @Get()
  @AdminOnly()
  @Paged()
  @Fails('validation_failed')
  async list(@Query() query: ListUsersQuery): Promise<UserPage> {
    return mapPage(await this.users.list(query), toUserResponse);
  }

  /** Read an account: by id, username, e-mail, or me */
  @Get(':user')
  @SelfOrAdmin('user')
  @Tagged()
  @Fails('not_found')
  async get(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<UserResponse> {
    return toUserResponse(await this.users.get(user, caller));
  }

  /** Change an account */
  @Patch(':user')
  @SelfOrAdmin('user')
  @Conditional()
  @Fails('not_found', 'username_taken', 'email_taken', 'last_admin', 'credits_overprovisioned')
  @ApiBody({
    type: UpdateUserDto,
    examples: {
      names: { value: { firstName: 'Ada', lastName: 'Lovelace' } },
      disable: { summary: 'Disable the account (administrators)', value: { status: 'disabled' } },
    },
  })
  async update(
    @Param('user') user: string,
    @Body() dto: UpdateUserDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<UserResponse> {
    return toUserResponse(await this.users.update(user, caller, dto, preconditions));
  }
}
