import { applyDecorators } from '@nestjs/common';
import { IsString, Length, ValidateBy, ValidateIf, type ValidationOptions } from 'class-validator';

/** Validates a text with a function. @param faultOf returns an error that completes "the member …", or undefined */
export function IsJudged(
  name: string,
  faultOf: (text: string) => string | undefined,
  options?: ValidationOptions,
): PropertyDecorator {
  const judge = (value: unknown): string | undefined => (typeof value === 'string' ? faultOf(value) : undefined);
  const rule = {
    name,
    validator: {
      validate: (value: unknown) => judge(value) === undefined,
      defaultMessage: (args?: { value: unknown }) => judge(args?.value) ?? '',
    },
  };
  return applyDecorators(IsString(), ValidateBy(rule, options));
}

/** Validates a text with a test. @param rule completes the sentence "must …" */
export function IsMatch(name: string, test: (text: string) => boolean, rule: string): PropertyDecorator {
  return IsJudged(name, (text) => (test(text) ? undefined : `must ${rule}`));
}

/**
 * Whether PostgreSQL can store a text unchanged: without U+0000 (which `text` rejects) and without lone surrogates
 * (which UTF-8 cannot encode and which would be replaced silently).
 */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

/** Validates that PostgreSQL can store a text unchanged. */
export function IsStorable(): PropertyDecorator {
  return IsMatch('isStorable', isStorable, 'not have U+0000 or lone surrogates');
}

/** Validates a text by which people recognise a thing. Stored as it is sent. */
export function IsLabel(max: number): PropertyDecorator {
  return applyDecorators(
    Length(1, max),
    IsStorable(),
    IsMatch('isVisible', (text) => text.trim() !== '', 'have a character that is not a space'),
  );
}

/** The member may be missing, but not `null`. (IsOptional of class-validator accepts null.) */
export function MayBeMissing(): PropertyDecorator {
  return ValidateIf((_object, value) => value !== undefined);
}

/** The member may be missing if another one is present, but not `null`. */
export function NeededWithout(other: string): PropertyDecorator {
  return applyDecorators(
    ValidateIf((object: Record<string, unknown>, value) => value !== undefined || object[other] === undefined),
    ValidateBy({
      name: 'isNeeded',
      validator: {
        validate: (value) => value !== undefined,
        defaultMessage: () => `is required if ${other} is missing`,
      },
    }),
  );
}

/** The member may be missing, or `null`, which clears the value. */
export function MayBeNull(): PropertyDecorator {
  return ValidateIf((_object, value) => value !== undefined && value !== null);
}

/** RFC 3339, section 5.6: date and time with an offset. */
const MOMENT = /^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;

/** RFC 3339: full-date. */
const DAY = /^\d{4}-\d\d-\d\d$/;

/** RFC 3339 has four digits for a year. */
const YEAR_10000 = 253_402_300_800_000;

/** Validates a future date and time with an offset. */
export function IsFuture(): PropertyDecorator {
  const isMoment = (text: string): boolean => MOMENT.test(text) && isReal(text);
  return applyDecorators(
    IsMatch('isDateTime', isMoment, 'be a date and time with an offset, like 2030-01-31T12:00:00Z'),
    IsMatch(
      'isFuture',
      (text) => !isMoment(text) || (Date.parse(text) > Date.now() && Date.parse(text) < YEAR_10000),
      'be in the future, before the year 10000',
    ),
  );
}

/** Validates a day (UTC), or a date and time with an offset, from the year 1970 on. */
export function IsMoment(): PropertyDecorator {
  return IsJudged('isMoment', (value) => {
    const isMoment =
      (MOMENT.test(value) || DAY.test(value)) &&
      isReal(value) &&
      Date.parse(value) >= 0 &&
      Date.parse(value) < YEAR_10000;
    if (isMoment) return undefined;
    // In a query, + stands for a space.
    if (MOMENT.test(value.replace(' ', '+'))) return 'must have the + of its offset written as %2B';
    return 'must be a day like 2026-01-31, or a date and time with an offset like 2026-01-31T12:00:00Z, from 1970 on';
  });
}

/** Whether a date exists: JavaScript parses February 30 as March 2. */
function isReal(moment: string): boolean {
  const [year = 0, month = 0, day = 0] = moment.slice(0, 10).split('-').map(Number);
  return month >= 1 && month <= 12 && day >= 1 && day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}
