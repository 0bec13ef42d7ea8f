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
    const isGiven = metadata.type === 'body' || metadata.type === 'query';
    const inherited = isGiven ? inheritedNames(value, '') : [];
    if (inherited.length === 0) return super.transform(value, metadata) as Promise<unknown>;
    const unknown = inherited.map((pointer) => ({ pointer, detail: 'is not known here' }));
    const errors = [...(await this.errorsOf(value, metadata)), ...unknown];
    throw new Problem('validation_failed', { errors: errors.slice(0, MAX_ERRORS) });
  }

  /** What else is wrong. */
  private async errorsOf(value: unknown, metadata: ArgumentMetadata): Promise<FieldError[]> {
    try {
      await super.transform(value, metadata);
      return [];
    } catch (error) {
      if (error instanceof Problem) return error.extra.errors ?? [];
      throw error;
    }
  }
}

/** Whether a route does as well without a body: its DTO says so by a static member `mayBeMissing`. */
function mayBeMissing({ type, metatype }: ArgumentMetadata): boolean {
  return type === 'body' && metatype !== undefined && 'mayBeMissing' in metatype;
}

/**
 * Pointers to members with names that every object has: class-transformer drops them, at any depth, before the whitelist
 * can refuse them.
 */
function inheritedNames(value: unknown, pointer: string): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const at = `${pointer}/${escaped(name)}`;
    return name in Object.prototype || name === 'prototype' ? [at] : inheritedNames(member, at);
  });
}

/** Flattens nested errors to one entry a field, with a JSON pointer (RFC 6901). */
export function fieldErrors(errors: ValidationError[], parent = ''): FieldError[] {
  return errors.flatMap((error) => {
    const pointer = `${parent}/${escaped(error.property)}`;
    const own = Object.entries(error.constraints ?? {}).map(([name, text]) => ({
      pointer,
      detail: name === 'whitelistValidation' ? 'is not known here' : withoutName(text, error.property),
    }));
    return [...own, ...fieldErrors(error.children ?? [], pointer)];
  });
}

/** A name as a part of a JSON pointer. */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** class-validator begins its texts with the property's name, which the pointer already says. */
function withoutName(text: string, property: string): string {
  return text.startsWith(`${property} `) ? text.slice(property.length + 1) : text;
}
