import { applyDecorators } from '@nestjs/common';
import { ApiPropertyOptional } from '@nestjs/swagger';
import { IsString, Length } from 'class-validator';
import { PageQuery } from './page.js';
import { IsStorable, MayBeMissing } from './text.js';

/** A user, by id, username or e-mail; may be missing. */
export const IsUserReference = (description: string): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({ description, example: 'me', type: 'string', minLength: 1, maxLength: 254 }),
    MayBeMissing(),
    IsString(),
    Length(1, 254),
    IsStorable(),
  );

/** `?limit=`, `?cursor=` and `?owner=` of lists of what users own. */
export class OwnedPageQuery extends PageQuery {
  @IsUserReference('Administrators only: whose (id, username or e-mail), or `*` for everyone’s')
  owner?: string;
}

/** Whose a new object shall be. */
export class NewOwnedDto {
  @IsUserReference('Administrators only: whose it shall be (id, username or e-mail); the caller’s where it is missing')
  owner?: string;
}
