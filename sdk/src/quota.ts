import type { Quartermaster, Verdict } from './client.js';
import { ConnectionError, QuartermasterError, type Limit } from './errors.js';

export interface QuotaOptions<Request> {
  /** The client that asks. It needs no credential of its own. */
  client: Quartermaster;
  /** The units that a request costs. Default: 1. */
  cost?: number | ((request: Request) => number);
  /** Serves requests while Quartermaster cannot answer, without metering them. Default: false, they get 503. */
  failOpen?: boolean;
}

/** What is known of a request that was granted. */
export interface Grant {
  keyId: string;
  /** The id of the user who owns the key. */
  owner: string;
  limits: Limit[];
}

/** A denial, in the form of a response. */
export interface Denial {
  status: number;
  headers: Record<string, string>;
  problem: { type: string; title: string; status: number; code: string; violated?: Limit[]; limits?: Limit[] };
}

type Incoming = Record<string, string | string[] | undefined>;

const DENIALS = {
  unauthenticated: [401, 'Send an API key as Authorization: Bearer or X-API-Key'],
  invalid_api_key: [401, 'The API key is not valid'],
  account_disabled: [403, 'The account is disabled'],
  scope_denied: [403, 'The key does not cover this API'],
  quota_exceeded: [429, 'The quota is used up'],
  quota_unavailable: [503, 'The request cannot be checked'],
} as const;

const SECONDS: Record<string, number> = { minute: 60, hour: 3_600, day: 86_400 };

const grants = new WeakMap<object, Grant>();

/** Returns the grant of a request that the middleware let through; undefined if it was not asked, or failed open. */
export function grantOf(request: object): Grant | undefined {
  return grants.get(request);
}

/**
 * Spends the units of a request with the API key in its headers. Remembers the grant for `grantOf`.
 * @returns the headers for the response, or the denial
 * @throws an error that is no matter of Quartermaster, such as one of `cost`
 */
export async function spend<Request extends object>(
  api: string,
  { client, cost = 1, failOpen = false }: QuotaOptions<Request>,
  request: Request,
  headers: Incoming,
): Promise<{ headers: Record<string, string>; denial?: never } | { denial: Denial; headers?: never }> {
  const key = keyOf(headers);
  if (key === undefined) return { denial: denialOf('unauthenticated') };
  const units = typeof cost === 'function' ? cost(request) : cost;
  let verdict: Verdict;
  try {
    verdict = await client.verify({ key, api, cost: units });
  } catch (error) {
    const isDown = error instanceof ConnectionError || (error instanceof QuartermasterError && error.status >= 500);
    if (isDown && failOpen) return { headers: {} };
    // An API that is not in the catalogue, or a cost that is not valid: an error of this program, which must not grant.
    if (isDown || error instanceof QuartermasterError) return { denial: denialOf('quota_unavailable') };
    throw error;
  }
  const { keyId, owner, limits } = verdict;
  if (!verdict.allowed || keyId === null || owner === null) return { denial: denialOf(verdict.code, limits, units) };
  grants.set(request, { keyId, owner, limits });
  return { headers: rateLimitOf(limits) };
}

/** The client's key: never from the query, which ends up in logs. */
function keyOf({ authorization, 'x-api-key': key }: Incoming): string | undefined {
  if (typeof authorization === 'string' && /^bearer /i.test(authorization)) return authorization.slice(7).trim();
  return typeof key === 'string' ? key : undefined;
}

function denialOf(code: string, limits: Limit[] = [], cost = 1): Denial {
  const known = code in DENIALS ? (code as keyof typeof DENIALS) : 'quota_unavailable';
  const [status, title] = DENIALS[known];
  const problem = { type: 'about:blank', title, status, code: known };
  const common = { 'content-type': 'application/problem+json', 'cache-control': 'no-store' };
  if (status === 401) return { status, headers: { ...common, 'www-authenticate': 'Bearer' }, problem };
  if (status === 503) return { status, headers: { ...common, 'retry-after': '1' }, problem };
  if (status === 403) return { status, headers: common, problem };
  const violated = limits.filter(({ remaining }) => remaining < cost);
  const headers = { ...common, ...rateLimitOf(limits), ...retryAfterOf(violated, cost) };
  return { status, headers, problem: { ...problem, violated, limits } };
}

/** Empty if waiting does not help: a limit never resets, or is smaller than the cost. */
function retryAfterOf(violated: Limit[], cost: number): Record<string, string> {
  const waits = violated.map(({ limit, resetsAt }) =>
    resetsAt === null || limit < cost ? Infinity : secondsTo(resetsAt),
  );
  const longest = Math.max(...waits);
  return Number.isFinite(longest) ? { 'retry-after': String(longest) } : {};
}

function secondsTo(resetsAt: string): number {
  return Math.max(1, Math.ceil((Date.parse(resetsAt) - Date.now()) / 1_000));
}

/** The headers RateLimit-Policy and RateLimit, as the server sends them for its own calls. */
function rateLimitOf(limits: Limit[]): Record<string, string> {
  if (limits.length === 0) return {};
  const names = namesOf(limits);
  const policy = limits.map(({ limit, window }, i) => {
    const seconds = SECONDS[window];
    return `"${names[i]}";q=${limit}${seconds === undefined ? '' : `;w=${seconds}`}`;
  });
  const state = limits.map(({ remaining, resetsAt }, i) => {
    return `"${names[i]}";r=${remaining}${resetsAt === null ? '' : `;t=${secondsTo(resetsAt)}`}`;
  });
  return { 'ratelimit-policy': policy.join(', '), ratelimit: state.join(', ') };
}

/** A limit is named by its window; where this is ambiguous, by scope, meter and window. */
function namesOf(limits: Limit[]): string[] {
  const isUnique = limits.every(({ window }) => limits.filter((each) => each.window === window).length === 1);
  return limits.map(({ scope, meter, window }) => (isUnique ? window : `${scope} ${meter} ${window}`));
}
