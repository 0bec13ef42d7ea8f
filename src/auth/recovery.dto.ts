import { ApiProperty } from '@nestjs/swagger';
import { IsString, Length, MaxLength } from 'class-validator';
import { ApiTime, ApiUri } from '../common/formats.js';
import { IsStorable } from '../common/text.js';

export class AskRecoveryDto {
  /**
   * A username or an e-mail
   * @example ada
   */
  @IsString()
  @Length(1, 254)
  @IsStorable()
  login!: string;
}

export class RecoverDto {
  /**
   * Of the link
   * @example qmt_AZ2lYs0S
   */
  @IsString()
  @MaxLength(1024)
  token!: string;

  /**
   * Under the same rules as at registration
   * @example Difference-1822
   */
  @IsString()
  newPassword!: string;
}

export class ConfirmEmailDto {
  /**
   * Of the link
   * @example qmt_AZ2lYs0S
   */
  @IsString()
  @MaxLength(1024)
  token!: string;
}

/** A link that sets a password, for an administrator to hand over. */
export class ResetLinkResponse {
  /**
   * Opened in a browser it asks for the new password
   * @example https://qm.example.com/recovery#token=qmt_AZ2lYs0S
   */
  @ApiUri()
  url!: string;

  /**
   * For `POST /v1/auth/recovery/confirm`; good once
   * @example qmt_AZ2lYs0S
   */
  token!: string;

  /** @example 2026-11-21T08:30:00.000Z */
  @ApiTime()
  expiresAt!: string;
}

/** What secures an account. */
export class AccountSecurityResponse {
  /**
   * Null: the e-mail is not confirmed, or there is none
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  emailConfirmedAt!: string | null;

  /**
   * Null: two-factor sign-in is off
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  totpEnabledAt!: string | null;

  /**
   * Recovery codes that were not used
   * @example 10
   */
  @ApiProperty({ type: 'integer' })
  recoveryCodesLeft!: number;

  /**
   * Sign-ins that have not ended
   * @example 2
   */
  @ApiProperty({ type: 'integer' })
  sessions!: number;

  /**
   * Keys that requests are signed with
   * @example 1
   */
  @ApiProperty({ type: 'integer' })
  signingKeys!: number;
}
