import { Injectable, ValidationPipe, type ArgumentMetadata, type Type } from '@nestjs/common';
import { getMetadataStorage, type ValidationArguments, type ValidationError } from 'class-validator';
import { Env } from '../config/env.js';
import { Problem, notAllowed, type FaultKind, type FieldError } from '../common/problem.js';

/**
 * Makes class-validator remember the rules of each class. At each validation, it searches those of all classes, which takes
 * 3 % of a short request.
 */
function rememberRules(): void {
  const storage = getMetadataStorage();
  const find = storage.getTargetValidationMetadatas.bind(storage);
  const known = new Map<unknown, Map<string, ReturnType<typeof find>>>();
  storage.getTargetValidationMetadatas = (target, ...options) => {
    const ofTarget = known.get(target) ?? new Map<string, ReturnType<typeof find>>();
    known.set(target, ofTarget);
    const name = options.join();
    const rules = ofTarget.get(name) ?? find(target, ...options);
    ofTarget.set(name, rules);
    return rules;
  };
}

rememberRules();

/** Validates bodies and queries against their DTO. Rejects unknown members and converts nothing implicitly. */
@Injectable()
export class RequestValidationPipe extends ValidationPipe {
  /** Query DTOs that accept an empty query. Most queries are empty, and validating one takes 10 µs. */
  private readonly optional = new Set<Type>();

  constructor(env: Env) {
    super({
      whitelist: true,
      forbidNonWhitelisted: true,
      forbidUnknownValues: true,
      transform: true,
      transformOptions: { enableImplicitConversion: false, exposeUnsetFields: false },
      stopAtFirstError: false,
      // Rules without a group always apply; rules for usernames and new passwords apply under their policy.
      groups: [env.usernamePolicy, env.passwordPolicy],
      always: true,
      validationError: { target: true, value: true },
      exceptionFactory: (errors) => Problem.fields(fieldErrors(errors)),
    });
  }

  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    // Path parameters and values of decorators have no DTO.
    if (metadata.type !== 'body' && metadata.type !== 'query') return value;
    if (metadata.type === 'body') {
      if (value === undefined && mayBeMissing(metadata)) return super.transform({}, metadata) as Promise<unknown>;
      if (value === undefined) throw Problem.field('', 'is required');
      // class-validator validates an array element by element and would accept it in place of the DTO's object.
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw Problem.field('', 'must be a JSON object');
      }
    }
    const { type, metatype } = metadata;
    if (type === 'query' && metatype && isEmpty(value)) {
      if (this.optional.has(metatype)) return new metatype();
      const query = (await super.transform(value, metadata)) as unknown;
      if (query instanceof metatype) this.optional.add(metatype);
      return query;
    }
    const faults = [...(metadata.type === 'query' ? repeatedParameters(value) : []), ...inheritedNames(value, '')];
    if (faults.length === 0) return super.transform(value, metadata) as Promise<unknown>;
    throw Problem.fields([...faults, ...(await this.faultsOf(value, metadata))]);
  }

  /** The other validation errors. */
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

function isEmpty(query: unknown): boolean {
  for (const _name in query as object) return false;
  return true;
}

/** Whether the body of a route is optional: its DTO has a static member `mayBeMissing`. */
function mayBeMissing({ metatype }: ArgumentMetadata): boolean {
  return metatype !== undefined && 'mayBeMissing' in metatype;
}

/** Rejects repeated parameters: they are parsed as an array, which no DTO rule expects. */
function repeatedParameters(query: unknown): FieldError[] {
  return Object.entries(query as object).flatMap(([name, value]) =>
    Array.isArray(value) ? [{ pointer: `/${escaped(name)}`, detail: 'must be given once', kind: 'type' as const }] : [],
  );
}

/**
 * Rejects members with names of inherited properties, at any depth: class-transformer drops them before the whitelist
 * can reject them.
 */
function inheritedNames(value: unknown, pointer: string): FieldError[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const at = `${pointer}/${escaped(name)}`;
    return name in Object.prototype || name === 'prototype' ? [notAllowed(at)] : inheritedNames(member, at);
  });
}

type Words = readonly unknown[];

/** The class-validator rules that the DTOs use, each with the kind and the text of its error. */
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
  arrayUnique: () => ['range', 'must not contain duplicates'],
};

/** Error kinds of the project's own rules, which have their own texts. Default: `form`. */
const KINDS: Record<string, FaultKind> = { isNeeded: 'missing', isTextOrObject: 'type', isFuture: 'range' };

/** Returns one entry for each validation error, with a JSON pointer (RFC 6901). */
function fieldErrors(errors: readonly ValidationError[], parent = ''): FieldError[] {
  return errors.flatMap((error) => {
    const pointer = `${parent}/${escaped(error.property)}`;
    if (error.constraints && 'whitelistValidation' in error.constraints) return [notAllowed(pointer)];
    const own = ownErrors(error, pointer);
    // A value of the wrong type has no valid children to report.
    if (own.some(({ kind }) => kind === 'type')) return own;
    const elements = elementErrors(error, pointer);
    // Omits the children of elements that already have an error.
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
    // elementErrors reports the rules for elements.
    if (rule?.each) return [];
    return [faultOf(name, text, rule?.constraints ?? [], error.value, pointer)];
  });
  if (faults.length === 0 || error.value !== undefined) return faults;
  const said = faults.find(({ kind }) => kind === 'missing');
  return [said ?? { pointer, detail: 'is required', kind: 'missing' }];
}

/** Returns the errors of array elements. class-validator reports only that some element is invalid, not which one. */
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

/** Returns the DTO rules of the property that an error is about. */
function rulesOf({ target, property, value }: { target?: object; property: string; value?: unknown }): Rule[] {
  if (!target || Array.isArray(target)) return [];
  const storage = getMetadataStorage();
  return storage
    .getTargetValidationMetadatas(target.constructor, '', true, false)
    .filter(({ propertyName }) => propertyName === property)
    .flatMap((metadata) =>
      storage.getTargetValidatorConstraints(metadata.constraintCls).map((constraint) => {
        // Undefined for rules without arguments, contrary to its type.
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

/** Escapes a name for a JSON pointer. */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}
