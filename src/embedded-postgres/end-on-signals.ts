import { constants } from 'node:os';
import type { EmbeddedPostgres } from './embedded-postgres.js';

/**
 * Exits immediately on a signal, so that the running command does not report a lost database. The exit hook of
 * EmbeddedPostgres then signals PostgreSQL to stop. Windows has no such signal: there PostgreSQL is stopped first.
 */
export function endOnSignals(signals: readonly NodeJS.Signals[], starting: Promise<EmbeddedPostgres>): void {
  for (const signal of signals) {
    process.on(signal, () => {
      const exit = (): never => process.exit(128 + constants.signals[signal]);
      const release = async (postgres: EmbeddedPostgres): Promise<void> => {
        if (process.platform === 'win32') await postgres.stop();
      };
      // Wait for a pending start: PostgreSQL is a detached process and would keep running.
      starting.then(release).then(exit, exit);
    });
  }
}
