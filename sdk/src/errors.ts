import type { components } from './schema.js';

/** The body of a refusal (RFC 9457). */
export type Problem = components['schemas']['ProblemBody'];

export type ProblemCode = Problem['code'];

/** A limit that was checked, with its usage. */
export type Limit = components['schemas']['LimitResponse'];

/** A refusal of the server. Branch on `code`, which is stable. */
export class QuartermasterError<C extends ProblemCode = ProblemCode> extends Error {
  override readonly name = 'QuartermasterError';
  readonly code: C;
  readonly status: number;

  constructor(
    readonly problem: Problem & { code: C },
    /** Seconds after which a retry can succeed, if the server says so. */
    readonly retryAfter: number | undefined,
  ) {
    super(problem.detail);
    this.code = problem.code;
    this.status = problem.status;
  }
}

/**
 * No answer of the server arrived: the connection failed, the time is over, or a proxy answered instead. Whether a change
 * was made is unknown.
 */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';

  constructor(
    message: string,
    options: ErrorOptions = {},
    /** The status of a response that is not one of Quartermaster. */
    readonly status?: number,
    /** Seconds after which such a response allows a retry. */
    readonly retryAfter?: number,
  ) {
    super(message, options);
  }
}

/** Whether an error is a refusal with one of these codes. */
export function isRefusal<C extends ProblemCode>(error: unknown, ...codes: C[]): error is QuartermasterError<C> {
  return error instanceof QuartermasterError && (codes as ProblemCode[]).includes(error.code as ProblemCode);
}

/** Returns the error for a response with a status of 400 or more. */
export async function errorOf(response: Response): Promise<QuartermasterError | ConnectionError> {
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json');
  const problem = isProblem ? ((await response.json()) as Problem) : undefined;
  // A proxy may send a date instead, which is NaN here.
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const retryAfter = Number.isNaN(seconds) ? undefined : seconds;
  if (problem) return new QuartermasterError(problem, retryAfter);
  const { status } = response;
  return new ConnectionError(`Status ${status} without a problem of Quartermaster`, {}, status, retryAfter);
}
