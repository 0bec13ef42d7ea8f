/**
 * Every problem that the API can return: code → HTTP status and title (RFC 9457). A code that is not in this table
 * cannot be thrown.
 */
export const PROBLEMS = {
  validation_failed: [400, 'The request is not valid'],
  malformed_json: [400, 'The body is not valid JSON'],
  unauthenticated: [401, 'No credentials were sent'],
  invalid_credentials: [401, 'Unknown login or wrong password'],
  invalid_token: [401, 'The token is not valid'],
  invalid_signature: [401, 'The signature is not valid'],
  invalid_api_key: [401, 'The API key is not valid'],
  totp_required: [401, 'Send the code of your authenticator'],
  invalid_totp: [401, 'The code is wrong or was already used'],
  credits_exhausted: [402, 'No credits left'],
  forbidden: [403, 'Not allowed'],
  totp_setup_required: [403, 'Administrators must set up two-factor sign-in'],
  plan_in_use: [409, 'The plan is assigned to users'],
  upstream_failed: [502, 'The API did not answer'],
  quota_exceeded: [403, 'The quota is used up'],
  scope_denied: [403, 'The key does not cover this API'],
  account_disabled: [403, 'The account is disabled'],
  not_found: [404, 'Not found'],
  keys_not_found: [404, 'Some keys do not exist'],
  method_not_allowed: [405, 'Method not allowed'],
  username_taken: [409, 'The username is taken'],
  email_taken: [409, 'The email is taken'],
  slug_taken: [409, 'The slug is taken'],
  totp_enabled: [409, 'Two-factor sign-in is already enabled'],
  last_admin: [409, 'The last active administrator cannot be removed'],
  nothing_to_confirm: [409, 'There is no e-mail to confirm'],
  credits_overprovisioned: [409, 'The credits of all users exceed the object limit of the platform'],
  idempotency_in_progress: [409, 'A request with this Idempotency-Key is still running'],
  version_mismatch: [412, 'The version does not match'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'Unsupported media type'],
  idempotency_key_reused: [422, 'The Idempotency-Key was used for another request'],
  too_many_attempts: [429, 'Too many attempts'],
  internal_error: [500, 'Internal server error'],
  overloaded: [503, 'The server is overloaded'],
  database_unavailable: [503, 'The database is not available'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof PROBLEMS;

/** Kinds of validation errors, most basic first. Each field reports only its most basic error; these sort by kind. */
const FAULT_KINDS = ['missing', 'unknown', 'type', 'form', 'range'] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** One validation error: a JSON pointer into the body (or the name of the parameter) and the reason. */
export interface FieldError {
  pointer: string;
  detail: string;
  /** Default: `form`. */
  kind?: FaultKind;
}

/** Maximum number of invalid fields in one response. */
export const MAX_FIELD_ERRORS = 100;

export interface ProblemExtra {
  /** One sentence for the caller. Default: the title of the code. */
  detail?: string;
  errors?: FieldError[];
  /** Seconds, sent as `Retry-After`. */
  retryAfter?: number;
  /** More response headers. */
  headers?: Record<string, string>;
  /** Methods, sent as `Allow`. */
  allow?: string[];
  /** Overrides the status of a code that has two: `quota_exceeded` is 403 for gauges, 429 for calls. */
  status?: number;
  /** The error to log. */
  cause?: unknown;
  /** More members of the response body, e.g. `violated` and `limits`. */
  members?: Record<string, unknown>;
}

/**
 * The one error type of the API. Any other error is a server error and gets 500. Captures no stack trace, because
 * problems are frequent and must be cheap.
 */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;

  constructor(
    readonly code: ProblemCode,
    readonly extra: ProblemExtra = {},
  ) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(extra.detail ?? PROBLEMS[code][1]);
    Error.stackTraceLimit = limit;
    this.status = extra.status ?? PROBLEMS[code][0];
  }

  /** Returns the problem for one invalid field. */
  static field(pointer: string, detail: string): Problem {
    return new Problem('validation_failed', { errors: [{ pointer, detail }] });
  }

  /** Returns the problem for several invalid fields: the most basic error of each, most basic first. */
  static fields(faults: readonly FieldError[]): Problem {
    const sorted = faults.toSorted((one, other) => rankOf(one) - rankOf(other));
    const byPointer = new Map<string, FieldError>();
    for (const fault of sorted) if (!byPointer.has(fault.pointer)) byPointer.set(fault.pointer, fault);
    return new Problem('validation_failed', { errors: [...byPointer.values()].slice(0, MAX_FIELD_ERRORS) });
  }
}

/** Returns what was found. @throws Problem not_found if it is null */
export function required<T>(found: T | null): T {
  if (found === null) throw new Problem('not_found');
  return found;
}

function rankOf({ kind = 'form' }: FieldError): number {
  return FAULT_KINDS.indexOf(kind);
}

/** Returns the error for a member or parameter that the route does not have. */
export function notAllowed(pointer: string): FieldError {
  return { pointer, detail: 'is not allowed', kind: 'unknown' };
}
