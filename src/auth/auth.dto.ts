import { ApiProperty } from '@nestjs/swagger';
import { IsIn, IsString, Length, MaxLength } from 'class-validator';
import { IsStorable, MayBeMissing } from '../common/text.js';
import { IsNewPassword } from '../passwords/password-policy.js';
import { AccountDto, UserResponse } from '../users/user.dto.js';

export class RegisterDto extends AccountDto {}

/** Where the client keeps the refresh token: in its own storage, or in a cookie that only the browser can read. */
const KEPT_IN = ['token', 'cookie'] as const;

export type KeptIn = (typeof KEPT_IN)[number];

export class LoginDto {
  /**
   * A username or an e-mail address
   * @example ada
   */
  @IsString()
  @Length(1, 254)
  @IsStorable()
  login!: string;

  /** @example Analytical-1843 */
  @IsString()
  @MaxLength(1024)
  password!: string;

  /**
   * Required if two-factor sign-in is on: the six-digit code of the authenticator app, or a recovery code.
   * Spaces and hyphens are ignored
   * @example '755224'
   */
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  code?: string;

  /**
   * `token`, the default, returns the refresh token. `cookie`, for pages of this server, sets it as the cookie
   * `qm_refresh`
   * @example token
   */
  @MayBeMissing()
  @IsIn(KEPT_IN)
  session?: KeptIn;
}

export class RefreshDto {
  static readonly mayBeMissing = true;

  /**
   * The refresh token of the last sign-in or refresh. Default: the cookie `qm_refresh`
   * @example qmr_…
   */
  @MayBeMissing()
  @IsString()
  @MaxLength(4096)
  refreshToken?: string;

  /**
   * `cookie` moves the session into a cookie. Default: the new refresh token goes where the old one was
   * @example token
   */
  @MayBeMissing()
  @IsIn(KEPT_IN)
  session?: KeptIn;
}

export class ChangePasswordDto {
  /** @example Analytical-1843 */
  @IsString()
  @MaxLength(1024)
  currentPassword!: string;

  /**
   * Must satisfy the same rules as at registration
   * @example Difference-1822
   */
  @IsNewPassword()
  newPassword!: string;
}

/** The tokens of a sign-in or a refresh. */
export class TokensResponse {
  /**
   * A JWT. It is valid for 30 minutes, or until the session ends
   * @example eyJhbGciOiJSUzI1NiIs…
   */
  accessToken!: string;

  /** @example Bearer */
  tokenType!: 'Bearer';

  /**
   * Lifetime of the access token, in seconds
   * @example 1800
   */
  @ApiProperty({ type: 'integer' })
  expiresIn!: number;

  /**
   * Single use: each refresh returns a new refresh token. Missing if the session is in a cookie
   * @example qmr_AZ2lYs0S…
   */
  refreshToken?: string;

  user!: UserResponse;
}

/** What a sign-in page needs to know before anyone has signed in. */
export class SignInPolicyResponse {
  /**
   * Whether anyone may register
   * @example open
   */
  registration!: 'open' | 'closed';

  /**
   * `strict`: letters and digits. `extended`: also single `.`, `-` and `_` between them
   * @example strict
   */
  usernamePolicy!: 'strict' | 'extended';

  /**
   * `classes`: 8 to 64 characters with lower case, upper case, digit and special. `length`: 15 to 256 of any kind
   * @example classes
   */
  passwordPolicy!: 'classes' | 'length';

  /**
   * Who sends the link after a lost password: the server by e-mail, or an administrator
   * @example email
   */
  recovery!: 'email' | 'administrator';
}
