import { ApiProblem } from '../api/problem';

/**
 * Returns the errors of a problem by form field, for `form.setErrors`: `/limits/0/window` becomes `limits.0.window`. A
 * conflict over a name becomes an error of its field.
 */
export function formErrors(error: unknown): Record<string, string> {
  if (!(error instanceof ApiProblem)) return {};
  const conflict = /^(username|email|slug)_taken$/.exec(error.code);
  if (conflict?.[1] !== undefined) return { [conflict[1]]: `${error.body.title ?? 'Taken'}.` };
  return Object.fromEntries(
    error.errors.map(({ pointer, detail }) => [
      pointer.slice(1).replaceAll('/', '.'),
      `${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`,
    ]),
  );
}
