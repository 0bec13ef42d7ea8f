import { applyDecorators } from '@nestjs/common';
import { ApiPropertyOptional } from '@nestjs/swagger';
import { IsString, Length } from 'class-validator';
import { PageQuery } from '../../common/page.js';
import { IsStorable, MayBeMissing } from '../../common/text.js';

/** Validates an optional user reference: id, username or e-mail. */
export const IsUserReference = (description: string): PropertyDecorator =>
  applyDecorators(
    ApiPropertyOptional({ description, example: 'me', type: 'string', minLength: 1, maxLength: 254 }),
    MayBeMissing(),
    IsString(),
    Length(1, 254),
    IsStorable(),
  );

/** `?limit=`, `?cursor=` and `?owner=` of lists of owned objects. */
export class OwnedPageQuery extends PageQuery {
  @IsUserReference('Administrators only: the owner (id, username or e-mail), or `*` for all owners')
  owner?: string;
}

/** The owner of a new object. */
export class NewOwnedDto {
  @IsUserReference('Administrators only: the owner of the new object (id, username or e-mail). Default: the caller')
  owner?: string;
}
