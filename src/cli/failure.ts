import { ConnectionError, QuartermasterError } from '../../sdk/src/index.js';
import { Problem, type FieldError } from '../common/problem.js';
import { explainStart } from '../process/start-error.js';

/** Describes in one line why a command failed. */
export function explainFailure(error: unknown, variables: NodeJS.ProcessEnv): string {
  if (error instanceof Problem) return explainProblem(error);
  if (error instanceof QuartermasterError) {
    return `The server answered ${error.status}: ${explainRefusal(error as QuartermasterError)}`;
  }
  if (error instanceof ConnectionError) return `${error.message}${causeOf(error)}.`;
  return explainStart(error, variables);
}

/** Describes a Problem in one sentence, with the fields that are wrong. */
export function explainProblem({ message, extra: { errors } }: Problem): string {
  return describe(message, errors);
}

/** Describes a refusal of the API in the same words. */
export function explainRefusal({ problem: { detail, errors } }: QuartermasterError): string {
  return describe(detail, errors);
}

function describe(message: string, errors: FieldError[] = []): string {
  if (errors.length === 0) return message.endsWith('.') ? message : `${message}.`;
  return `${errors.map(({ pointer, detail }) => `${pointer.slice(1) || 'the value'} ${detail}`).join('; ')}.`;
}

/** Returns the innermost reason, such as `: connect ECONNREFUSED 127.0.0.1:3000`. */
function causeOf(error: Error): string {
  let reason: unknown = error;
  while (reason instanceof Error && reason.cause !== undefined) reason = reason.cause;
  return reason instanceof Error && reason !== error && reason.message !== '' ? `: ${reason.message}` : '';
}
