import { Controller, Get } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Env } from '../config/env.js';
import { Public } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { PlatformService } from '../platform/platform.service.js';
import { SignInPolicyResponse } from './auth.dto.js';

@ApiTags('Sign-in')
@Controller('v1/auth/policy')
export class SignInPolicyController {
  constructor(
    private readonly env: Env,
    private readonly platform: PlatformService,
  ) {}

  /** Read what a sign-in page needs: whether registration is open, the rules for names and passwords */
  @Get()
  @Public()
  @Fails('overloaded', 'database_unavailable')
  async get(): Promise<SignInPolicyResponse> {
    const { usernamePolicy, passwordPolicy, smtpUrl } = this.env;
    const { registration } = await this.platform.get();
    return {
      registration,
      usernamePolicy,
      passwordPolicy,
      recovery: smtpUrl === undefined ? 'administrator' : 'email',
    };
  }
}
