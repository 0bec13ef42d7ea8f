/**
 * Every refusal the API can give: code → HTTP status and title (RFC 9457).
 * The table is the contract: a code that is not here cannot be thrown.
 */
export const PROBLEMS = {
  validation_failed: [400, 'The request is not valid'],
  malformed_json: [400, 'The body is not valid JSON'],
  unauthenticated: [401, 'Sign in first'],
  invalid_credentials: [401, 'Unknown login or wrong password'],
  invalid_token: [401, 'The token is not valid'],
  invalid_signature: [401, 'The signature is not valid'],
  invalid_api_key: [401, 'The API key is not valid'],
  totp_required: [401, 'Send the code of your authenticator'],
  invalid_totp: [401, 'The code is wrong or was used'],
  credits_exhausted: [402, 'No credits left'],
  forbidden: [403, 'Not allowed'],
  totp_setup_required: [403, 'Administrators must set up two-factor sign-in'],
  plan_in_use: [409, 'Users have the plan'],
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
  totp_enabled: [409, 'Two-factor sign-in is on already'],
  last_admin: [409, 'The last administrator stays'],
  nothing_to_confirm: [409, 'There is no e-mail to confirm'],
  credits_overprovisioned: [409, 'More credits than the platform has objects'],
  idempotency_in_progress: [409, 'A request with this Idempotency-Key is still running'],
  version_mismatch: [412, 'The version does not match'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'Unsupported media type'],
  idempotency_key_reused: [422, 'The Idempotency-Key was used for another request'],
  too_many_attempts: [429, 'Too many attempts'],
  internal_error: [500, 'Something went wrong here'],
  overloaded: [503, 'Too much work is waiting'],
  database_unavailable: [503, 'The database is not available'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof PROBLEMS;

/** Kinds of faults, the most basic first: the only one that is named of a field, and the first of a request. */
const FAULT_KINDS = ['missing', 'unknown', 'type', 'form', 'range'] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** One thing that is wrong with the input: a JSON pointer into the body (or the parameter's name) and what is wrong. */
export interface FieldError {
  pointer: string;
  detail: string;
  /** `form` where it is missing. */
  kind?: FaultKind;
}

/** So many wrong fields are named; nobody mends more at once. */
export const MAX_FIELD_ERRORS = 100;

export interface ProblemExtra {
  /** One sentence for the caller; the code's title where it is missing. */
  detail?: string;
  errors?: FieldError[];
  /** Seconds, sent as `Retry-After`. */
  retryAfter?: number;
  /** Further headers of the answer. */
  headers?: Record<string, string>;
  /** Methods, sent as `Allow`. */
  allow?: string[];
  /** Overrides the code's status where the contract gives one code two (`quota_exceeded` is 403 for gauges, 429 for calls). */
  status?: number;
  /** What is logged of it. */
  cause?: unknown;
  /** Further members of the answer, e.g. `violated` and `limits`. */
  members?: Record<string, unknown>;
}

/**
 * The one error type of the API. Whatever else is thrown is a fault of ours and answered with 500.
 * It captures no stack: refusals are part of the ordinary work and must stay cheap.
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

  /** The refusal of one field of the input. */
  static field(pointer: string, detail: string): Problem {
    return new Problem('validation_failed', { errors: [{ pointer, detail }] });
  }

  /** The refusal of several fields: of each the most basic fault, and the most basic ones first. */
  static fields(faults: readonly FieldError[]): Problem {
    const sorted = faults.toSorted((one, other) => rankOf(one) - rankOf(other));
    const byPointer = new Map<string, FieldError>();
    for (const fault of sorted) if (!byPointer.has(fault.pointer)) byPointer.set(fault.pointer, fault);
    return new Problem('validation_failed', { errors: [...byPointer.values()].slice(0, MAX_FIELD_ERRORS) });
  }
}

function rankOf({ kind = 'form' }: FieldError): number {
  return FAULT_KINDS.indexOf(kind);
}

/** The fault of a member or parameter that the route does not have. */
export function notAllowed(pointer: string): FieldError {
  return { pointer, detail: 'is not allowed', kind: 'unknown' };
}
