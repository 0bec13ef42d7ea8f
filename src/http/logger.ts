import type { LoggerService } from '@nestjs/common';
import { pino, type Logger } from 'pino';
import { sqlState, violatedConstraint } from '../common/database-error.js';
import type { Env } from '../config/env.js';

/**
 * Creates the logger (pino, JSON lines). Rejected requests are `info`, server errors `error`, everything else `debug`.
 * Queries, headers and bodies are never logged, because they can contain secrets.
 * @param file path of the file to append to; default: standard output
 */
export function createLogger(env: Env, file?: string): Logger {
  const options = {
    level: env.logLevel,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  return pino(options, pino.destination({ dest: file ?? 1, sync: true }));
}

/**
 * Serializes an error. Driver messages can contain parameter values, so only SQLSTATE and constraint name are logged.
 */
function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = sqlState(error);
  const where = error.stack?.split('\n').filter((line) => /^ +at /.test(line));
  const message = code === undefined ? error.message : undefined;
  return { type: error.name, code, constraint: violatedConstraint(error), message, stack: where?.join('\n') };
}

/** Maps Nest's log messages to lower levels, so that normally only warnings appear. */
export function nestLogger(logger: Logger): LoggerService {
  const at =
    (level: 'debug' | 'warn' | 'trace') =>
    (message: unknown, ...rest: unknown[]) => {
      logger[level]({ rest }, String(message));
    };
  // Errors at the start are also thrown, and `main` explains them.
  return { log: at('trace'), error: at('debug'), warn: at('warn'), debug: at('trace'), verbose: at('trace') };
}
