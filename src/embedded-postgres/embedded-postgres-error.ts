/**
 * The embedded PostgreSQL is not available. The message is one line that tells the operator what is wrong and where.
 */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

/** Returns the SQLSTATE of a database error, the errno name of a system error, or ''. */
export function errorCode(error: unknown): string {
  return text(error, 'code');
}

/** Returns a one-line message for any thrown value. */
export function errorLine(error: unknown): string {
  return (text(error, 'message') || errorCode(error) || String(error)).trim().replaceAll(/\s*\n\s*/g, ' ');
}

/** Does not use instanceof: under Jest, errors of Node's own modules come from another realm. */
function text(error: unknown, field: 'code' | 'message'): string {
  const value = typeof error === 'object' && error !== null ? (error as Record<string, unknown>)[field] : undefined;
  return typeof value === 'string' ? value : '';
}

/**
 * Returns the line of a PostgreSQL program's output that names the cause, without its time stamp. This is the first
 * error line, because later errors are consequences, or else the last line. Returns '' if there is no output.
 */
export function causeIn(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const cause = lines.find((line) => /\b(FATAL|PANIC|ERROR|error):/.test(line)) ?? lines.at(-1) ?? '';
  return cause.replace(/^.*?\b(FATAL|PANIC|ERROR):\s+/, '');
}
