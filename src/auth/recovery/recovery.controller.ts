import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Owned, Public } from '../../http/caller/access.js';
import { Fails } from '../../http/docs/api-docs.js';
import { CurrentCaller, CurrentOrigin, type Caller, type Origin } from '../../http/caller/caller.js';
import { EmailConfirmationService } from './email-confirmation.service.js';
import { AskRecoveryDto, ConfirmEmailDto, RecoverDto } from './recovery.dto.js';
import { RecoveryService } from './recovery.service.js';

@ApiTags('Sign-in')
@Controller('v1/auth')
export class RecoveryController {
  constructor(
    private readonly recovery: RecoveryService,
    private readonly emails: EmailConfirmationService,
  ) {}

  /**
   * Request an e-mail with a link that sets a new password; the response is the same whether or not the account exists
   */
  @Post('recovery')
  @Public()
  @HttpCode(202)
  @Fails('too_many_attempts', 'overloaded', 'database_unavailable')
  async ask(@Body() dto: AskRecoveryDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.recovery.ask(dto.login, origin);
  }

  /** Set a new password with the single-use token from the link; ends all sessions */
  @Post('recovery/confirm')
  @Public()
  @HttpCode(204)
  @Fails('invalid_token', 'account_disabled', 'overloaded', 'database_unavailable')
  async recover(@Body() dto: RecoverDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.recovery.recover(dto.token, dto.newPassword, origin);
  }

  /** Request another e-mail to confirm your address */
  @Post('email-confirmation')
  @Owned('account')
  @HttpCode(202)
  @Fails('nothing_to_confirm', 'too_many_attempts')
  async askConfirmation(@CurrentCaller() caller: Caller): Promise<void> {
    await this.emails.ask(caller);
  }

  /** Confirm an e-mail address with the token that was sent to it */
  @Post('email-confirmation/confirm')
  @Public()
  @HttpCode(204)
  @Fails('invalid_token', 'overloaded', 'database_unavailable')
  async confirmEmail(@Body() dto: ConfirmEmailDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.emails.confirm(dto.token, origin);
  }
}
