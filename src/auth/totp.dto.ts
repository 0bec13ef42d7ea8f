import { IsString, Length, MaxLength } from 'class-validator';
import { ApiUri } from '../common/formats.js';

export class PasswordDto {
  /**
   * The current one
   * @example Analytical-1843
   */
  @IsString()
  @MaxLength(1024)
  password!: string;
}

export class CodeDto {
  /**
   * Six digits of the authenticator
   * @example 755224
   */
  @IsString()
  @Length(1, 64)
  code!: string;
}

export class PasswordAndCodeDto extends PasswordDto {
  /**
   * Six digits of the authenticator, or a recovery code
   * @example 755224
   */
  @IsString()
  @Length(1, 64)
  code!: string;
}

/** What an authenticator app needs. Shown this once. */
export class TotpSecretResponse {
  /**
   * To be typed in: base32
   * @example JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP
   */
  secret!: string;

  /**
   * To be shown as a QR code
   * @example otpauth://totp/Quartermaster:ada?issuer=Quartermaster&secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&algorithm=SHA1&digits=6&period=30
   */
  @ApiUri()
  uri!: string;
}

/** To be written down: each stands in for the authenticator once. Shown this once. */
export class RecoveryCodesResponse {
  /** @example ["k7m2p-xw9ra","d3hq8-tz6cn"] */
  recoveryCodes!: string[];
}
