import { Injectable, ValidationPipe, type ArgumentMetadata } from '@nestjs/common';
import type { ValidationError } from 'class-validator';
import { Problem, type FieldError } from './problem.js';

/** So many wrong fields are named; nobody mends more at once. */
const MAX_ERRORS = 100;

/** Checks bodies and queries against their DTO: unknown members are refused and nothing is converted silently. */
@Injectable()
export class RequestValidationPipe extends ValidationPipe {
  constructor() {
    super({
      whitelist: true,
      forbidNonWhitelisted: true,
      forbidUnknownValues: true,
      transform: true,
      transformOptions: { enableImplicitConversion: false, exposeUnsetFields: false },
      stopAtFirstError: false,
      exceptionFactory: (errors) =>
        new Problem('validation_failed', { errors: fieldErrors(errors).slice(0, MAX_ERRORS) }),
    });
  }

  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    if (value === undefined && mayBeMissing(metadata)) return super.transform({}, metadata) as Promise<unknown>;
    // class-validator checks an array element by element and lets it through in place of the object the DTO describes.
    if (metadata.type === 'body' && (typeof value !== 'object' || value === null || Array.isArray(value))) {
      throw Problem.field('', 'must be a JSON object');
    }
    if (metadata.type === 'body' || metadata.type === 'query') refuseInherited(value);
    return super.transform(value, metadata) as Promise<unknown>;
  }
}

/** Whether a route does as well without a body: its DTO says so by a static member `mayBeMissing`. */
function mayBeMissing({ type, metatype }: ArgumentMetadata): boolean {
  return type === 'body' && metatype !== undefined && 'mayBeMissing' in metatype;
}

/** class-transformer drops names that every object has before the whitelist can refuse them, at any depth. */
function refuseInherited(value: unknown): void {
  const errors = inheritedNames(value, '').map((pointer) => ({ pointer, detail: 'is not known here' }));
  if (errors.length > 0) throw new Problem('validation_failed', { errors: errors.slice(0, MAX_ERRORS) });
}

function inheritedNames(value: unknown, pointer: string): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const at = `${pointer}/${name}`;
    return name in Object.prototype || name === 'prototype' ? [at] : inheritedNames(member, at);
  });
}

/** Flattens nested errors to one entry a field, with a JSON pointer (RFC 6901). */
export function fieldErrors(errors: ValidationError[], parent = ''): FieldError[] {
  return errors.flatMap((error) => {
    const pointer = `${parent}/${error.property.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const own = Object.entries(error.constraints ?? {}).map(([name, text]) => ({
      pointer,
      detail: name === 'whitelistValidation' ? 'is not known here' : withoutName(text, error.property),
    }));
    return [...own, ...fieldErrors(error.children ?? [], pointer)];
  });
}

/** class-validator begins its texts with the property's name, which the pointer already says. */
function withoutName(text: string, property: string): string {
  return text.startsWith(`${property} `) ? text.slice(property.length + 1) : text;
}
