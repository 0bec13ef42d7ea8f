import { constants } from 'node:os';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { Env } from '../config/env.js';
import { EmbeddedPostgres } from './embedded-postgres.js';
import { dataSourceOptions, type PostgresOptions } from './options.js';

/**
 * The data source of the TypeORM CLI: on DATABASE_URL, else on the embedded PostgreSQL. It stops the embedded PostgreSQL
 * that it has started when the CLI destroys it and when a signal ends the CLI. That of a running server it leaves alone.
 */
export class CliDataSource extends DataSource {
  private constructor(
    options: PostgresOptions,
    private readonly postgres?: EmbeddedPostgres,
  ) {
    super(options);
  }

  /** @param signals end the CLI, and PostgreSQL with it */
  static async open(
    env: Env,
    entities: NonNullable<PostgresOptions['entities']>,
    signals: readonly NodeJS.Signals[],
  ): Promise<CliDataSource> {
    if (env.databaseUrl !== undefined) {
      return new CliDataSource({ ...dataSourceOptions(env, env.databaseUrl), entities });
    }
    const starting = EmbeddedPostgres.attachOrStart({ dataDir: env.dataDir });
    endOn(signals, starting);
    const postgres = await starting;
    return new CliDataSource({ ...dataSourceOptions(env, postgres.url), entities }, postgres);
  }

  /** The CLI asks for every statement in the log: hundreds of lines, in which those about the migrations are lost. */
  override setOptions(options: Partial<DataSourceOptions>): this {
    const { logging } = options;
    if (!Array.isArray(logging)) return super.setOptions(options);
    return super.setOptions({ ...options, logging: logging.filter((kind) => kind !== 'query') });
  }

  override async destroy(): Promise<void> {
    await super.destroy();
    await this.postgres?.stop();
  }
}

/**
 * Ends the process on a signal, at once, so that the command under way does not report the loss of its database. Then
 * the embedded PostgreSQL's own exit hook tells PostgreSQL to stop. On Windows, where it cannot, PostgreSQL is stopped first.
 */
function endOn(signals: readonly NodeJS.Signals[], starting: Promise<EmbeddedPostgres>): void {
  for (const signal of signals) {
    process.on(signal, () => {
      const exit = (): never => process.exit(128 + constants.signals[signal]);
      const release = async (postgres: EmbeddedPostgres): Promise<void> => {
        if (process.platform === 'win32') await postgres.stop();
      };
      // PostgreSQL that is starting runs apart from this process and would outlive it.
      starting.then(release).then(exit, exit);
    });
  }
}
