/** The embedded PostgreSQL cannot be had. The message is one line that tells an operator what is wrong and where. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

/** The SQLSTATE of a database error, the errno name of a system error, or ''. */
export function errorCode(error: unknown): string {
  return text(error, 'code');
}

/** What went wrong as one line, whatever was thrown. */
export function errorLine(error: unknown): string {
  return (text(error, 'message') || errorCode(error) || String(error)).trim().replaceAll(/\s*\n\s*/g, ' ');
}

/** Not by instanceof: under Jest the errors of Node's own modules are of another realm's Error. */
function text(error: unknown, field: 'code' | 'message'): string {
  const value = typeof error === 'object' && error !== null ? (error as Record<string, unknown>)[field] : undefined;
  return typeof value === 'string' ? value : '';
}

/**
 * The line of a PostgreSQL program's output that names the cause, without its time stamp: the first that complains,
 * because what follows is consequence; else the last. '' when there is no output.
 */
export function causeIn(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const cause = lines.find((line) => /\b(FATAL|PANIC|ERROR|error):/.test(line)) ?? lines.at(-1) ?? '';
  return cause.replace(/^.*?\b(FATAL|PANIC|ERROR):\s+/, '');
}
