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
