import type { components } from '../../../sdk/src/schema';

type ProblemBody = components['schemas']['ProblemBody'];

/** One limit as a denial reports it. */
export type Limit = components['schemas']['LimitResponse'];

/** A response of the API that is not a success (RFC 9457). */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';

  constructor(
    readonly status: number,
    readonly body: Partial<ProblemBody>,
    /** Seconds after which a retry can succeed, as the server says. */
    readonly retryAfter: number | undefined,
  ) {
    super(body.detail ?? body.title ?? `The server answered with status ${String(status)}.`);
  }

  static async from(response: Response): Promise<ApiProblem> {
    const retryAfter = Number(response.headers.get('retry-after') ?? NaN);
    const body = (await response.json().catch(() => ({}))) as Partial<ProblemBody>;
    const requestId = body.requestId ?? response.headers.get('x-request-id') ?? undefined;
    return new ApiProblem(
      response.status,
      { ...body, ...(requestId === undefined ? {} : { requestId }) },
      Number.isFinite(retryAfter) ? retryAfter : undefined,
    );
  }

  get code(): string {
    return this.body.code ?? 'unknown';
  }

  get detail(): string {
    return this.message;
  }

  get requestId(): string | undefined {
    return this.body.requestId;
  }

  /** The invalid fields of a 400. */
  get errors(): { pointer: string; detail: string }[] {
    return this.body.errors ?? [];
  }

  /** The limits that were judged, with a denial. */
  get limits(): Limit[] {
    return (this.body as { limits?: Limit[] }).limits ?? [];
  }
}

/** No response arrived: the server is down, or the network is. */
export class ServerUnreachable extends Error {
  override readonly name = 'ServerUnreachable';

  constructor(cause: unknown) {
    super('The server cannot be reached.', { cause });
  }
}

/** Whether the same request can succeed in a moment. */
export function isTransient(error: unknown): boolean {
  return error instanceof ServerUnreachable || (error instanceof ApiProblem && error.status === 503);
}
