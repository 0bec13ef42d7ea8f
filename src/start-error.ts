import { isDatabaseUnavailable, sqlState } from './common/database-error.js';
import { ConfigError } from './config/env.js';
import { EmbeddedPostgresError, errorLine } from './database/embedded-postgres-error.js';

/** Describes in one line why a program did not start; an unexpected error with its stack where LOG_LEVEL asks for it. */
export function explainStart(error: unknown, logLevel = process.env.LOG_LEVEL): string {
  if (error instanceof ConfigError || error instanceof EmbeddedPostgresError) return error.message;
  const { code, stack } = error as NodeJS.ErrnoException;
  const line = errorLine(error);
  if (isTlsError(error)) {
    return `The database of DATABASE_URL cannot be reached: ${line}: set sslmode to require (encrypts, does not check the certificate) or disable, or name the authority of the certificate as sslrootcert.`;
  }
  // 28: wrong user or password; 3D000: no such database; 42501: no right to connect.
  if (isDatabaseUnavailable(error) || /^(28|3D000|42501)/.test(sqlState(error) ?? '')) {
    return `The database of DATABASE_URL cannot be reached: ${line || (code ?? 'no answer')}.`;
  }
  const isTalkative = ['debug', 'trace'].includes(logLevel?.trim() ?? '');
  return isTalkative && stack !== undefined ? stack : `${line} (LOG_LEVEL=debug tells where.)`;
}

/** Whether TLS to the database failed: its certificate, or that there is none. */
function isTlsError(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return /CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_/.test(code ?? '') || message.includes('does not support SSL');
}
