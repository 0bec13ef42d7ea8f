import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Owned } from '../../http/caller/access.js';
import { Fails } from '../../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../../http/caller/caller.js';
import { Created } from '../../http/conditional/location.js';
import { CodeDto, PasswordAndCodeDto, PasswordDto, RecoveryCodesResponse, TotpSecretResponse } from './totp.dto.js';
import { TotpService } from './totp.service.js';

@ApiTags('Sign-in')
@Controller('v1')
export class TotpController {
  constructor(private readonly totp: TotpService) {}

  /** Set up two-factor sign-in: get a secret for an authenticator app */
  @Post('auth/totp')
  @Owned('account')
  @Created('/v1/users/me/security', { isTagged: false })
  @Fails('invalid_credentials', 'totp_enabled', 'too_many_attempts')
  async prepare(@Body() { password }: PasswordDto, @CurrentCaller() caller: Caller): Promise<TotpSecretResponse> {
    return this.totp.prepare(caller, password);
  }

  /** Enable two-factor sign-in with a first code; ends your other sessions */
  @Post('auth/totp/confirm')
  @Owned('account')
  @HttpCode(200)
  @Fails('invalid_totp', 'totp_enabled', 'not_found', 'too_many_attempts')
  async enable(@Body() { code }: CodeDto, @CurrentCaller() caller: Caller): Promise<RecoveryCodesResponse> {
    return { recoveryCodes: await this.totp.enable(caller, code) };
  }

  /** Disable two-factor sign-in */
  @Post('auth/totp/disable')
  @Owned('account')
  @HttpCode(204)
  @Fails('invalid_credentials', 'invalid_totp', 'not_found', 'too_many_attempts')
  async disable(@Body() { password, code }: PasswordAndCodeDto, @CurrentCaller() caller: Caller): Promise<void> {
    await this.totp.disable(caller, password, code);
  }

  /** Get new recovery codes; the previous ones become invalid */
  @Post('auth/totp/recovery-codes')
  @Owned('account')
  @HttpCode(200)
  @Fails('invalid_credentials', 'invalid_totp', 'not_found', 'too_many_attempts')
  async renew(
    @Body() { password, code }: PasswordAndCodeDto,
    @CurrentCaller() caller: Caller,
  ): Promise<RecoveryCodesResponse> {
    return { recoveryCodes: await this.totp.renew(caller, password, code) };
  }
}
