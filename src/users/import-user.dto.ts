import { OmitType } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import { IsJudged, MayBeMissing } from '../common/text.js';
import { IsNewPassword } from '../passwords/password-policy.js';
import { CreateUserDto } from './user.dto.js';
import type { UserStatus } from './user.entity.js';

/** PHC string format. Base64 of at least 8 bytes of salt and 16 of hash. */
const ARGON2ID = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/;

/** Each sign-in costs the memory and passes of the stored hash until it is renewed. */
const [MAX_MEMORY, MAX_PASSES, MAX_LANES] = [1_048_576, 16, 16];

function faultOfHash(text: string): string | undefined {
  const [, memory, passes, lanes] = (ARGON2ID.exec(text) ?? []).map(Number);
  if (memory === undefined || passes === undefined || lanes === undefined) {
    return 'must be an argon2id hash, like $argon2id$v=19$m=19456,t=2,p=1$…$…';
  }
  const isWithin = passes >= 1 && passes <= MAX_PASSES && lanes >= 1 && lanes <= MAX_LANES && memory >= 8 * lanes;
  if (isWithin && memory <= MAX_MEMORY) return undefined;
  return `must have m up to ${MAX_MEMORY}, t up to ${MAX_PASSES} and p up to ${MAX_LANES}`;
}

/** An account of an import. Without `password` and `passwordHash`, its user sets a password through a reset link. */
export class ImportUserDto extends OmitType(CreateUserDto, ['password']) {
  @MayBeMissing()
  @IsNewPassword()
  password?: string;

  @MayBeMissing()
  @IsJudged('isPasswordHash', faultOfHash)
  passwordHash?: string;

  @MayBeMissing()
  @IsIn(['active', 'disabled'])
  status?: UserStatus;
}
