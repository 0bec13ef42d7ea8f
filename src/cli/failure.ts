import { Problem } from '../common/problem.js';
import { explainStart } from '../process/start-error.js';

/** Describes in one line why a command failed. */
export function explainFailure(error: unknown, logLevel: string | undefined): string {
  return error instanceof Problem ? explainProblem(error) : explainStart(error, logLevel);
}

/** Describes a Problem of the API in one line, with the fields that are wrong. */
export function explainProblem({ message, extra: { errors } }: Problem): string {
  if (!errors || errors.length === 0) return message;
  return `${errors.map(({ pointer, detail }) => `${pointer.slice(1) || 'the value'} ${detail}`).join('; ')}.`;
}
