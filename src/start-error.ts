import { isDatabaseUnavailable } from './common/database-error.js';
import { ConfigError } from './config/env.js';
import { EmbeddedPostgresError, errorLine } from './database/embedded-postgres-error.js';

/**
 * Describes in one line why the program did not start. With LOG_LEVEL=debug or trace: the stack of unexpected errors.
 */
export function explainStart(error: unknown, logLevel = process.env.LOG_LEVEL): string {
  if (error instanceof ConfigError || error instanceof EmbeddedPostgresError) return error.message;
  const { code, stack } = error as NodeJS.ErrnoException;
  const line = errorLine(error);
  if (line.includes('does not support SSL')) {
    return `The database of DATABASE_URL cannot be reached: ${line}: set sslmode to disable, or enable TLS on the database server.`;
  }
  if (isTlsError(code)) {
    return `The database of DATABASE_URL cannot be reached: ${line}: set sslmode to require (encrypts, does not check the certificate) or disable, or set sslrootcert to the certificate authority.`;
  }
  if (isDatabaseUnavailable(error)) {
    return `The database of DATABASE_URL cannot be reached: ${line || (code ?? 'no answer')}.`;
  }
  const isTalkative = ['debug', 'trace'].includes(logLevel?.trim() ?? '');
  return isTalkative && stack !== undefined ? stack : `${line} (Set LOG_LEVEL=debug to see the stack.)`;
}

/** Whether TLS to the database failed, for instance because its certificate was rejected. */
function isTlsError(code = ''): boolean {
  return /CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_/.test(code);
}
