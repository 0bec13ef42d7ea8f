import { UnusableDatabase, isDatabaseUnavailable } from '../common/database-error.js';
import { ConfigError } from '../config/env.js';
import { EmbeddedPostgresError, errorLine } from '../embedded-postgres/embedded-postgres-error.js';

/** The variable that tells workers that DATABASE_URL is the address of the embedded database. */
export const EMBEDDED = 'QUARTERMASTER_EMBEDDED_DATABASE';

/**
 * Describes in one line why the program did not start. With LOG_LEVEL=debug or trace: the stack of unexpected errors.
 * @param variables of the operator, or of a worker
 */
export function explainStart(error: unknown, variables = process.env): string {
  const database = hasDatabaseUrl(variables) ? 'The database of DATABASE_URL' : 'The embedded database';
  if (error instanceof UnusableDatabase) return `${database} cannot be used: ${error.reason}.`;
  if (error instanceof ConfigError || error instanceof EmbeddedPostgresError) return error.message;
  const { code, path, stack } = error as NodeJS.ErrnoException;
  const line = errorLine(error);
  if (line.includes('does not support SSL')) {
    return `${database} cannot be reached: ${line}: set sslmode to disable, or enable TLS on the database server.`;
  }
  // The driver's own error. With MD5 and plain passwords, it is the server that asks for a password.
  if (/^SASL: .*client password must be/.test(line) || line === 'empty password returned by client') {
    return 'DATABASE_URL has no password, and the database asks for one.';
  }
  const remedy = remedyOf(code, line);
  if (remedy !== undefined) return `${database} cannot be reached: ${line.replace(/[:.\s]+$/, '')}: ${remedy}.`;
  // An error of a file can have the code of a missing socket.
  if (isDatabaseUnavailable(error) && path === undefined) {
    return `${database} cannot be reached: ${line || (code ?? 'no answer')}.`;
  }
  const isTalkative = ['debug', 'trace'].includes(variables.LOG_LEVEL?.trim() ?? '');
  return isTalkative && stack !== undefined ? stack : `${line} (Set LOG_LEVEL=debug to see the stack.)`;
}

/** Whether the operator has set DATABASE_URL. */
export function hasDatabaseUrl({ DATABASE_URL, DATABASE_URL_FILE, [EMBEDDED]: embedded }: NodeJS.ProcessEnv): boolean {
  return embedded === undefined && (Boolean(DATABASE_URL) || Boolean(DATABASE_URL_FILE));
}

/** Returns what to set where TLS to the database failed or is missing. */
function remedyOf(code = '', line: string): string | undefined {
  if (/no pg_hba\.conf entry .*no encryption$/.test(line)) {
    return 'if the database server accepts only TLS, add ?sslmode=require to DATABASE_URL';
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'use a host name that the certificate has, or set sslmode to verify-ca with sslrootcert, which does not check the name';
  }
  if (code.startsWith('ERR_OSSL'))
    return 'sslrootcert, sslcert and sslkey must be PEM files, and sslkey the key of sslcert';
  if (/CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_/.test(code)) {
    return 'set sslmode to require (encrypts, does not check the certificate) or disable, or set sslrootcert to the certificate authority';
  }
  return undefined;
}
