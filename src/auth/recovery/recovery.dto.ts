import { ApiProperty } from '@nestjs/swagger';
import { IsString, Length, MaxLength } from 'class-validator';
import { ApiTime, ApiUri } from '../../common/formats.js';
import { IsStorable, MayBeMissing } from '../../common/text.js';

export class AskRecoveryDto {
  /**
   * A username or an e-mail address
   * @example ada
   */
  @IsString()
  @Length(1, 254)
  @IsStorable()
  login!: string;
}

export class RecoverDto {
  /**
   * The token from the link
   * @example qmt_AZ2lYs0S
   */
  @IsString()
  @MaxLength(1024)
  token!: string;

  /**
   * Must satisfy the same rules as at registration
   * @example Difference-1822
   */
  @IsString()
  newPassword!: string;
}

export class ConfirmEmailDto {
  /**
   * The token from the link
   * @example qmt_AZ2lYs0S
   */
  @IsString()
  @MaxLength(1024)
  token!: string;
}

/** A link that sets a password. An administrator hands it to the user. */
export class ResetLinkResponse {
  /**
   * A page that asks for the new password
   * @example https://qm.example.com/recovery#token=qmt_AZ2lYs0S
   */
  @ApiUri()
  url!: string;

  /**
   * For `POST /v1/auth/recovery/confirm`. Single use
   * @example qmt_AZ2lYs0S
   */
  token!: string;

  /** @example 2026-11-21T08:30:00.000Z */
  @ApiTime()
  expiresAt!: string;
}

export class DeleteUserDto {
  static readonly mayBeMissing = true;

  /**
   * The caller’s password. Only administrators may omit it
   * @example Analytical-1843
   */
  @MayBeMissing()
  @IsString()
  @MaxLength(1024)
  password?: string;
}

/** The security settings of an account. */
export class AccountSecurityResponse {
  /**
   * Null if the account has no e-mail address, or has not confirmed it
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  emailConfirmedAt!: string | null;

  /**
   * Null if two-factor sign-in is off
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  totpEnabledAt!: string | null;

  /**
   * Number of unused recovery codes
   * @example 10
   */
  @ApiProperty({ type: 'integer' })
  recoveryCodesLeft!: number;

  /**
   * Number of active sessions
   * @example 2
   */
  @ApiProperty({ type: 'integer' })
  sessions!: number;

  /**
   * Number of signing keys
   * @example 1
   */
  @ApiProperty({ type: 'integer' })
  signingKeys!: number;

  /**
   * Whether users may delete their own accounts on this platform
   * @example false
   */
  selfDeletion!: boolean;
}
