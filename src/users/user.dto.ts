import { applyDecorators } from '@nestjs/common';
import { ApiProperty, ApiPropertyOptional, OmitType } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsIn, IsInt, IsString, Length, Max, MaxLength, Min } from 'class-validator';
import type { Role } from '../http/caller/caller.js';
import { ApiEmail, ApiId, ApiTime } from '../common/formats.js';
import { faultOfUsername, isEmailAddress } from '../common/names.js';
import { PageQuery } from '../common/page.js';
import { IsJudged, IsStorable, MayBeMissing, MayBeNull, NeededWithout } from '../common/text.js';
import { IsNewPassword } from '../passwords/password-policy.js';
import type { UserStatus } from './user.entity.js';
import type { UserRow } from './users.repository.js';

/**
 * Letters of any script with the marks that belong to them, the punctuation of names, and space; at least one letter.
 * The punctuation is that of Catalan (U+00B7), Japanese (U+30FB) and Hebrew (U+05F3, U+05F4) too. Persian and the
 * scripts of India need ZERO WIDTH (NON-)JOINER between letters or marks; elsewhere these characters are invisible.
 */
const NAME =
  /^(?=.*\p{L})(?:[\p{L}\p{M}'’.\u00b7\u30fb\u05f3\u05f4 -]|(?<=[\p{L}\p{M}])[\u200c\u200d](?=[\p{L}\p{M}]))+$/u;

/** Scripts in which a single character can be a name. */
const NAME_OF_ONE = /^[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}]$/u;

/** Counts code points of the text in NFC, so that the length does not depend on how accents are composed. */
function faultOfName(text: string): string | undefined {
  const name = text.normalize('NFC');
  const length = [...name].length;
  if (length > 0 && !NAME.test(name))
    return "must have letters, marks, spaces and - ' ’ . · ・ \u05f3 \u05f4 only, and at least one letter";
  if (length > 32) return 'must have at most 32 characters';
  if (length >= 2 || NAME_OF_ONE.test(name)) return undefined;
  return 'must have at least 2 characters, or 1 of Han, Hangul or Kana';
}

const IsName = (): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({ minLength: 1, maxLength: 32 }),
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value)),
    IsJudged('isName', faultOfName),
  );

const IsAddress = (): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({ format: 'email', maxLength: 254 }),
    IsJudged('isAddress', (text) => {
      if (isEmailAddress(text)) return undefined;
      return text.length > 254 ? 'must be an e-mail address of at most 254 characters' : 'must be an e-mail address';
    }),
  );

const IsUsername = (): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({ minLength: 2, maxLength: 64, pattern: '^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$' }),
    ...(['strict', 'extended'] as const).map((policy) =>
      IsJudged('isUsername', (text) => faultOfUsername(text, policy), { groups: [policy] }),
    ),
  );

/** The data of a new account. At least one of `username` and `email` is required. */
export class AccountDto {
  /**
   * 2 to 64 letters and digits, unique regardless of case, never `me`. USERNAME_POLICY=extended also allows single `.`,
   * `-` and `_` between them, but not the form of an id
   * @example ada
   */
  @NeededWithout('email')
  @IsUsername()
  username?: string;

  /**
   * Unique regardless of case, of how accents are composed, and of how the domain is written
   * @example ada@example.com
   */
  @MayBeMissing()
  @IsAddress()
  email?: string;

  /**
   * 8 to 64 characters with lower case (a–z), upper case (A–Z), a digit (0–9) and a special character, and not a
   * common password. PASSWORD_POLICY can set other rules. Compared in Unicode NFC
   * @example Analytical-1843
   */
  @IsNewPassword()
  password!: string;

  /**
   * 2 to 32 characters (code points), or 1 of Han, Hangul or Kana. Allowed are letters and marks of any script, `-`,
   * `'`, `’`, `.`, `·`, `・`, `׳`, `״` and space, with at least one letter, and the joiners U+200C and U+200D between
   * letters or marks. Spaces at the ends are removed
   * @example Ada
   */
  @MayBeMissing()
  @IsName()
  firstName?: string;

  /**
   * The same rules as for `firstName`
   * @example Lovelace
   */
  @MayBeMissing()
  @IsName()
  lastName?: string;
}

/** The data of an account that an administrator creates. */
export class CreateUserDto extends AccountDto {
  /**
   * Default: `user`
   * @example user
   */
  @MayBeMissing()
  @IsIn(['admin', 'user'])
  role?: Role;

  /** The slug of a plan */
  @ApiPropertyOptional({ example: 'free' })
  @MayBeNull()
  @IsString()
  @MaxLength(64)
  @IsStorable()
  plan?: string | null;

  /**
   * Number of tasks the user may have at once; `null` or missing: unlimited
   * @example 10
   */
  @ApiPropertyOptional({ type: 'integer' })
  @MayBeNull()
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  credits?: number | null;
}

/**
 * Changes to an account. A missing field stays unchanged; `null` clears a field. Only administrators can set `role`,
 * `plan`, `credits`, `status` and `password`.
 */
export class UpdateUserDto extends OmitType(CreateUserDto, ['username', 'email', 'firstName', 'lastName', 'password']) {
  /**
   * The same rules as at registration. `null` clears it, which requires an `email`
   * @example ada
   */
  @MayBeNull()
  @IsUsername()
  username?: string | null;

  /**
   * The same rules as at registration. `null` clears it, which requires a `username`
   * @example ada@example.com
   */
  @MayBeNull()
  @IsAddress()
  email?: string | null;

  /**
   * The same rules as at registration. `null` clears it
   * @example Ada
   */
  @MayBeNull()
  @IsName()
  firstName?: string | null;

  /**
   * The same rules as at registration. `null` clears it
   * @example King
   */
  @MayBeNull()
  @IsName()
  lastName?: string | null;

  /**
   * Administrators only. A disabled account is rejected from its next request on
   * @example active
   */
  @MayBeMissing()
  @IsIn(['active', 'disabled'])
  status?: UserStatus;

  /**
   * Administrators only: sets the password and ends the user's sessions
   * @example Analytical-1843
   */
  @MayBeMissing()
  @IsNewPassword()
  password?: string;
}

export class ListUsersQuery extends PageQuery {
  /**
   * The start of a username or e-mail. Spellings that find the account by its whole name, such as another case, also
   * work here
   * @example ada
   */
  @MayBeMissing()
  @IsString()
  @Length(1, 254)
  @IsStorable()
  query?: string;

  @MayBeMissing()
  @IsIn(['admin', 'user'])
  role?: Role;

  @MayBeMissing()
  @IsIn(['active', 'disabled'])
  status?: UserStatus;

  /** The slug of a plan */
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  @IsStorable()
  plan?: string;
}

/** An account. */
export class UserResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /** @example ada */
  username!: string | null;

  /** @example ada@example.com */
  @ApiEmail()
  email!: string | null;

  /** @example Ada */
  firstName!: string | null;

  /** @example Lovelace */
  lastName!: string | null;

  /** @example user */
  role!: 'admin' | 'user';

  /** @example active */
  status!: 'active' | 'disabled';

  /**
   * The slug of the plan
   * @example free
   */
  plan!: string | null;

  /**
   * Number of tasks the user may have at once; null: unlimited
   * @example 10
   */
  @ApiProperty({ type: 'integer', nullable: true })
  credits!: number | null;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  updatedAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  lastLoginAt!: string | null;
}

/** One page of accounts, newest first. */
export class UserPage {
  data!: UserResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

/** Maps an account to the fields that may leave the server. */
export function toUserResponse(user: UserRow): UserResponse {
  return {
    id: user.id,
    username: user.username,
    email: user.email,
    firstName: user.firstName,
    lastName: user.lastName,
    role: user.role,
    status: user.status,
    plan: user.plan,
    credits: user.credits,
    createdAt: user.createdAt.toISOString(),
    updatedAt: user.updatedAt.toISOString(),
    lastLoginAt: user.lastLoginAt?.toISOString() ?? null,
  };
}
