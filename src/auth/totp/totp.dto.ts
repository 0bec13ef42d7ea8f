import { IsString, Length, MaxLength } from 'class-validator';
import { ApiUri } from '../../common/formats.js';

export class PasswordDto {
  /**
   * The current password
   * @example Analytical-1843
   */
  @IsString()
  @MaxLength(1024)
  password!: string;
}

export class CodeDto {
  /**
   * The six-digit code of the authenticator app. Spaces and hyphens are ignored
   * @example 755224
   */
  @IsString()
  @Length(1, 64)
  code!: string;
}

export class PasswordAndCodeDto extends PasswordDto {
  /**
   * The six-digit code of the authenticator app, or a recovery code. Spaces and hyphens are ignored
   * @example 755224
   */
  @IsString()
  @Length(1, 64)
  code!: string;
}

/** The secret for an authenticator app. It is shown only once. */
export class TotpSecretResponse {
  /**
   * In base32, for manual entry
   * @example JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP
   */
  secret!: string;

  /**
   * For a QR code
   * @example otpauth://totp/Quartermaster:ada?issuer=Quartermaster&secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&algorithm=SHA1&digits=6&period=30
   */
  @ApiUri()
  uri!: string;
}

/** Recovery codes, each of which replaces the authenticator code once. They are shown only once, so write them down. */
export class RecoveryCodesResponse {
  /** @example ["k7m2p-xw9ra","d3hq8-tz6cn"] */
  recoveryCodes!: string[];
}
