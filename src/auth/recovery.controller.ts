import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Owned, Public } from '../common/access.js';
import { Fails } from '../common/api-docs.js';
import { CurrentCaller, CurrentOrigin, type Caller, type Origin } from '../common/caller.js';
import { AskRecoveryDto, ConfirmEmailDto, RecoverDto } from './recovery.dto.js';
import { RecoveryService } from './recovery.service.js';

@ApiTags('Sign-in')
@Controller('v1/auth')
export class RecoveryController {
  constructor(private readonly recovery: RecoveryService) {}

  /** Ask for an e-mail with a link that sets a new password; the answer is the same whether the account exists or not */
  @Post('recovery')
  @Public()
  @HttpCode(202)
  @Fails('too_many_attempts', 'overloaded', 'database_unavailable')
  async ask(@Body() dto: AskRecoveryDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.recovery.ask(dto.login, origin);
  }

  /** Set a new password with the token of such a link: it is good once, and all sessions end */
  @Post('recovery/confirm')
  @Public()
  @HttpCode(204)
  @Fails('invalid_token', 'account_disabled', 'overloaded', 'database_unavailable')
  async recover(@Body() dto: RecoverDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.recovery.recover(dto.token, dto.newPassword, origin);
  }

  /** Ask for another e-mail that confirms one's address */
  @Post('email-confirmation')
  @Owned('account')
  @HttpCode(202)
  @Fails('nothing_to_confirm', 'too_many_attempts')
  async askConfirmation(@CurrentCaller() caller: Caller): Promise<void> {
    await this.recovery.askConfirmation(caller);
  }

  /** Confirm an e-mail with the token that was sent to it */
  @Post('email-confirmation/confirm')
  @Public()
  @HttpCode(204)
  @Fails('invalid_token', 'overloaded', 'database_unavailable')
  async confirmEmail(@Body() dto: ConfirmEmailDto, @CurrentOrigin() origin: Origin): Promise<void> {
    await this.recovery.confirmEmail(dto.token, origin);
  }
}
