import { ConfigError } from '../config/env.js';

/**
 * An error of PostgreSQL or its driver. Classified by SQLSTATE, constraint name and errno, because message texts are
 * translated and change between versions.
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

/** Returns the SQLSTATE (or the socket errno) of a failed statement. */
export function sqlState(error: unknown): string | undefined {
  const code = driverError(error)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** A constraint in a message of any language. Citus adds the number of a shard to the name. */
const CONSTRAINT_IN_MESSAGE = /\b(\w+_(?:pkey|fkey|unique|check))(?:_\d+)?\b/;

/** Returns the name of the constraint that a statement violated. */
export function violatedConstraint(error: unknown): string | undefined {
  const { constraint, code, message } = driverError(error) ?? {};
  if (typeof constraint === 'string') return constraint.replace(/_\d+$/, '');
  // Citus passes errors of other nodes on without the name.
  if (typeof code !== 'string' || !code.startsWith('23')) return undefined;
  return CONSTRAINT_IN_MESSAGE.exec(String(message))?.[1];
}

/** Returns the DETAIL that a SQL function of this project raised. */
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

/** Driver messages without a code for lost connections and connection timeouts (pg 8, pg-pool 3, TypeORM 1). */
const DRIVER_MESSAGES = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error',
  'Client was closed',
  'Cannot use a pool after calling end on the pool',
  // TypeORM 1: the connection of a transaction was lost.
  'Query runner already released',
];

/** SQLSTATEs of a database that cannot be used now, besides the classes 08 (connection) and 28 (authorization). */
const UNAVAILABLE = new Set([
  ...['53300', '55000'], // too many connections, connections not allowed
  ...['57P01', '57P02', '57P03'], // shutting down, crashed, starting
  ...['25006'], // a former primary after a switchover
  ...['3D000', '3F000', '42P01', '42501'], // the database, its schema, a table or a privilege is missing
  ...['XX000'], // an internal error: as Citus answers when its PostgreSQL was killed
]);

/**
 * Whether the database is unavailable: connection lost or refused, restarting, renamed, or without the privileges that
 * the server needs. Do not return such a connection to the pool.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  const code = sqlState(error);
  if (code !== undefined) {
    return SOCKET_ERRORS.has(code) || UNAVAILABLE.has(code) || code.startsWith('08') || code.startsWith('28');
  }
  const message = driverError(error)?.message;
  return typeof message === 'string' && DRIVER_MESSAGES.some((known) => message.startsWith(known));
}

/**
 * Whether the database was too busy for a statement that may succeed later: statement timeout (57014), lock not
 * available (55P03), out of resources (53xxx), or a deadlock after all retries.
 */
export function isOverload(error: unknown): boolean {
  const code = sqlState(error);
  return code !== undefined && (code === '57014' || code === '55P03' || code.startsWith('53') || isRetryable(error));
}

/** Whether a retry of the whole transaction may succeed: deadlock (40P01) or serialization failure (40001). */
export function isRetryable(error: unknown): boolean {
  const code = sqlState(error);
  return code === '40P01' || code === '40001';
}

/** A database that cannot be used until the operator changes it. */
export class UnusableDatabase extends ConfigError {
  constructor(readonly reason: string) {
    super(`The database cannot be used: ${reason}.`);
  }
}
