import { Injectable, ValidationPipe, type ArgumentMetadata } from '@nestjs/common';
import { getMetadataStorage, type ValidationArguments, type ValidationError } from 'class-validator';
import { Env } from '../config/env.js';
import { Problem, notAllowed, type FaultKind, type FieldError } from './problem.js';

/** Checks bodies and queries against their DTO: unknown members are refused and nothing is converted silently. */
@Injectable()
export class RequestValidationPipe extends ValidationPipe {
  constructor(env: Env) {
    super({
      whitelist: true,
      forbidNonWhitelisted: true,
      forbidUnknownValues: true,
      transform: true,
      transformOptions: { enableImplicitConversion: false, exposeUnsetFields: false },
      stopAtFirstError: false,
      // Rules without a group hold always, those of usernames under their policy.
      groups: [env.usernamePolicy],
      always: true,
      validationError: { target: true, value: true },
      exceptionFactory: (errors) => Problem.fields(fieldErrors(errors)),
    });
  }

  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    if (metadata.type === 'body') {
      if (value === undefined && mayBeMissing(metadata)) return super.transform({}, metadata) as Promise<unknown>;
      if (value === undefined) throw Problem.field('', 'is required');
      // class-validator checks an array element by element and lets it through in place of the object the DTO describes.
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw Problem.field('', 'must be a JSON object');
      }
    }
    const faults = [
      ...(metadata.type === 'query' ? repeatedParameters(value) : []),
      ...(metadata.type === 'query' || metadata.type === 'body' ? inheritedNames(value, '') : []),
    ];
    if (faults.length === 0) return super.transform(value, metadata) as Promise<unknown>;
    throw Problem.fields([...faults, ...(await this.faultsOf(value, metadata))]);
  }

  /** What else is wrong. */
  private async faultsOf(value: unknown, metadata: ArgumentMetadata): Promise<FieldError[]> {
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
function mayBeMissing({ metatype }: ArgumentMetadata): boolean {
  return metatype !== undefined && 'mayBeMissing' in metatype;
}

/** A parameter that is given twice is an array, which no rule of its DTO expects. */
function repeatedParameters(query: unknown): FieldError[] {
  return Object.entries(query as object).flatMap(([name, value]) =>
    Array.isArray(value) ? [{ pointer: `/${escaped(name)}`, detail: 'must be given once', kind: 'type' as const }] : [],
  );
}

/**
 * Members with names that every object has: class-transformer drops them, at any depth, before the whitelist can refuse
 * them.
 */
function inheritedNames(value: unknown, pointer: string): FieldError[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const at = `${pointer}/${escaped(name)}`;
    return name in Object.prototype || name === 'prototype' ? [notAllowed(at)] : inheritedNames(member, at);
  });
}

type Words = readonly unknown[];

/** The rules of class-validator that the DTOs use, by how basic a fault it is to break one, and what is said of it. */
const RULES: Record<string, (constraints: Words, value: unknown) => [FaultKind, string]> = {
  isString: () => ['type', 'must be a string'],
  isInt: () => ['type', 'must be an integer'],
  isBoolean: () => ['type', 'must be true or false'],
  isArray: () => ['type', 'must be an array'],
  isObject: () => ['type', 'must be an object'],
  nestedValidation: () => ['type', 'must be an object'],
  isIn: ([words], value) => {
    const list = (words as Words).join(', ');
    return typeof value === 'string'
      ? ['form', `must be one of: ${list}`]
      : ['type', `must be a string, one of: ${list}`];
  },
  isLength: ([min, max]) => ['range', `must have ${String(min)} to ${String(max)} characters`],
  maxLength: ([max]) => ['range', `must have at most ${String(max)} characters`],
  min: ([min]) => ['range', `must be at least ${String(min)}`],
  max: ([max]) => ['range', `must be at most ${String(max)}`],
  arrayMaxSize: ([max]) => ['range', `must have at most ${String(max)} elements`],
  arrayUnique: () => ['range', 'must not have the same element twice'],
};

/** Kinds of our own rules, which say themselves what is wrong, where it is not the form. */
const KINDS: Record<string, FaultKind> = { isNeeded: 'missing', isTextOrObject: 'type', isFuture: 'range' };

/** One entry for each field that is wrong, with a JSON pointer (RFC 6901). */
function fieldErrors(errors: readonly ValidationError[], parent = ''): FieldError[] {
  return errors.flatMap((error) => {
    const pointer = `${parent}/${escaped(error.property)}`;
    if (error.constraints && 'whitelistValidation' in error.constraints) return [notAllowed(pointer)];
    const own = ownErrors(error, pointer);
    // What is of another type has no parts that could be named.
    if (own.some(({ kind }) => kind === 'type')) return own;
    const elements = elementErrors(error, pointer);
    // Of an element that is no object its parts need no naming.
    const children = (error.children ?? []).filter(
      ({ property }) => !elements.some((each) => each.pointer === `${pointer}/${property}`),
    );
    return [...own, ...elements, ...fieldErrors(children, pointer)];
  });
}

function ownErrors(error: ValidationError, pointer: string): FieldError[] {
  const rules = rulesOf(error);
  const faults = Object.entries(error.constraints ?? {}).flatMap(([name, text]): FieldError[] => {
    const rule = rules.find((each) => each.name === name);
    // Of elements; what is no array has none.
    if (rule?.each) return [];
    return [faultOf(name, text, rule?.constraints ?? [], error.value, pointer)];
  });
  if (faults.length === 0 || error.value !== undefined) return faults;
  const said = faults.find(({ kind }) => kind === 'missing');
  return [said ?? { pointer, detail: 'is required', kind: 'missing' }];
}

/** The faults of the elements of an array, of which class-validator names none: it says that there are some. */
function elementErrors(error: ValidationError, pointer: string): FieldError[] {
  const { constraints = {} } = error;
  const elements: unknown = error.value;
  if (!Array.isArray(elements)) return [];
  const broken = rulesOf(error).filter(({ each, name }) => each && name in constraints);
  return elements.flatMap((element: unknown, i) =>
    broken
      .filter(({ allows }) => !allows(element))
      .map(({ name, constraints: words }) =>
        faultOf(name, constraints[name] ?? '', words, element, `${pointer}/${String(i)}`),
      ),
  );
}

function faultOf(name: string, text: string, constraints: Words, value: unknown, pointer: string): FieldError {
  const [kind, detail] = RULES[name]?.(constraints, value) ?? [KINDS[name] ?? 'form', text];
  return { pointer, detail, kind };
}

interface Rule {
  name: string;
  each: boolean;
  constraints: Words;
  /** Whether an element passes. */
  allows: (element: unknown) => boolean;
}

/** The rules of the property that an error is about, as its DTO declares them. */
function rulesOf({ target, property, value }: { target?: object; property: string; value?: unknown }): Rule[] {
  if (!target || Array.isArray(target)) return [];
  const storage = getMetadataStorage();
  return storage
    .getTargetValidationMetadatas(target.constructor, '', true, false)
    .filter(({ propertyName }) => propertyName === property)
    .flatMap((metadata) =>
      storage.getTargetValidatorConstraints(metadata.constraintCls).map((constraint) => {
        // Missing for rules without arguments, whatever its type says.
        const constraints = (metadata.constraints as Words | undefined) ?? [];
        const given: ValidationArguments = {
          ...{ value, property, object: target, targetName: target.constructor.name },
          constraints: [...constraints],
        };
        return {
          name: metadata.name ?? constraint.name,
          each: metadata.each,
          constraints,
          allows: (element: unknown) => constraint.instance.validate(element, given) === true,
        };
      }),
    );
}

/** A name as a part of a JSON pointer. */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}
