/**
 * What PostgreSQL and its driver say when a statement fails, read from SQLSTATE, constraint name and errno only:
 * message texts are translated and change between versions.
 */
interface DriverError {
  code?: unknown;
  constraint?: unknown;
  detail?: unknown;
  message?: unknown;
  driverError?: unknown;
}

function driverError(error: unknown): DriverError | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const inner = (error as DriverError).driverError;
  return typeof inner === 'object' && inner !== null ? inner : error;
}

/** The SQLSTATE (or the errno of a socket) of a failed statement. */
export function sqlState(error: unknown): string | undefined {
  const code = driverError(error)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** The name of the constraint that refused a statement. */
export function violatedConstraint(error: unknown): string | undefined {
  const constraint = driverError(error)?.constraint;
  return typeof constraint === 'string' ? constraint : undefined;
}

/** What a rule of ours says of its refusal. */
export function violationDetail(error: unknown): string | undefined {
  const detail = driverError(error)?.detail;
  return typeof detail === 'string' ? detail : undefined;
}

const SOCKET_ERRORS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** What the driver says, without a code, when a connection is lost or none comes in time (pg 8, pg-pool 3). */
const DRIVER_MESSAGES = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error',
  'Client was closed',
  'Cannot use a pool after calling end on the pool',
];

/**
 * Whether the failure means that there is no usable database now: connection lost or refused (08xxx), too many
 * connections (53300), none allowed (55000), shutting down or starting (57P01–57P03), or a connection that still points to
 * what was the primary before a switchover (25006). Such a connection must not go back into the pool.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  const code = sqlState(error);
  if (code !== undefined) {
    return (
      SOCKET_ERRORS.has(code) ||
      code.startsWith('08') ||
      code === '53300' ||
      code === '55000' ||
      code === '57P01' ||
      code === '57P02' ||
      code === '57P03' ||
      code === '25006'
    );
  }
  const message = driverError(error)?.message;
  return typeof message === 'string' && DRIVER_MESSAGES.some((known) => message.startsWith(known));
}

/**
 * Whether the database had no room or time for a statement, which may fare better later: cancelled by its time limit
 * (57014), a lock not to be had (55P03), out of resources (53xxx), or deadlocked again and again.
 */
export function isOverload(error: unknown): boolean {
  const code = sqlState(error);
  return code !== undefined && (code === '57014' || code === '55P03' || code.startsWith('53') || isRetryable(error));
}

/** Whether running the whole transaction again may succeed: deadlock (40P01) or serialization failure (40001). */
export function isRetryable(error: unknown): boolean {
  const code = sqlState(error);
  return code === '40P01' || code === '40001';
}
