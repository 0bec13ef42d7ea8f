import { ValidateBy, ValidateIf, buildMessage } from 'class-validator';

/** A member of a DTO whose rule is a function; `rule` completes the sentence "must …". */
export function IsMatch(name: string, test: (value: string) => boolean, rule: string): PropertyDecorator {
  return ValidateBy({
    name,
    validator: {
      validate: (value) => typeof value === 'string' && test(value),
      defaultMessage: buildMessage((each) => `${each}must ${rule}`),
    },
  });
}

/**
 * Whether PostgreSQL keeps a text as it is: it is without U+0000 (which `text` refuses) and without a lone surrogate
 * (which UTF-8 cannot say, and which would be replaced silently).
 */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

/** A text that PostgreSQL keeps as it is. What is no text at all is for IsString to refuse, in one sentence. */
export function IsStorable(): PropertyDecorator {
  return ValidateBy({
    name: 'isStorable',
    validator: {
      validate: (value) => typeof value !== 'string' || isStorable(value),
      defaultMessage: buildMessage((each) => `${each}must not have U+0000 or lone surrogates`),
    },
  });
}

/** The member may be missing; `null` is refused. (class-validator's IsOptional lets null through.) */
export function MayBeMissing(): PropertyDecorator {
  return ValidateIf((_object, value) => value !== undefined);
}

/** The member may be missing, or `null`, which clears what was set. */
export function MayBeNull(): PropertyDecorator {
  return ValidateIf((_object, value) => value !== undefined && value !== null);
}

/** RFC 3339, section 5.6: date and time with an offset. */
const MOMENT = /^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i;

/** RFC 3339: full-date. */
const DAY = /^\d{4}-\d\d-\d\d$/;

/** RFC 3339 has four digits for a year. */
const YEAR_10000 = 253_402_300_800_000;

/** A moment to come, with its offset from UTC. */
export function IsFuture(): PropertyDecorator {
  return IsMatch(
    'isFuture',
    (value) => MOMENT.test(value) && isReal(value) && Date.parse(value) > Date.now() && Date.parse(value) < YEAR_10000,
    'be a time to come, like 2030-01-31T12:00:00Z',
  );
}

/** A day (UTC), or a moment with its offset, from the year 1970 on. */
export function IsMoment(): PropertyDecorator {
  return IsMatch(
    'isMoment',
    (value) =>
      (MOMENT.test(value) || DAY.test(value)) &&
      isReal(value) &&
      Date.parse(value) >= 0 &&
      Date.parse(value) < YEAR_10000,
    'be a day like 2026-01-31, or a time with its offset like 2026-01-31T12:00:00Z',
  );
}

/** Whether a date exists: JavaScript takes February 30 for March 2. */
function isReal(moment: string): boolean {
  const [year = 0, month = 0, day = 0] = moment.slice(0, 10).split('-').map(Number);
  return month >= 1 && month <= 12 && day >= 1 && day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}
