import { DataSource, type DataSourceOptions, type Migration } from 'typeorm';
import type { Env } from '../config/env.js';
import { EmbeddedPostgres } from '../embedded-postgres/embedded-postgres.js';
import { endOnSignals } from '../embedded-postgres/end-on-signals.js';
import { installFunctions } from './functions.js';
import { dataSourceOptions, type PostgresOptions } from './options.js';

/**
 * Data source of the TypeORM CLI. Uses DATABASE_URL, or else the embedded PostgreSQL. If it started the embedded
 * PostgreSQL, it stops it when the CLI destroys the data source or a signal ends the CLI. It does not stop the
 * PostgreSQL of a running server.
 */
export class CliDataSource extends DataSource {
  private constructor(
    options: PostgresOptions,
    private readonly postgres?: EmbeddedPostgres,
  ) {
    super(options);
  }

  /** @param signals signals that end the CLI and stop PostgreSQL */
  static async open(
    env: Env,
    entities: NonNullable<PostgresOptions['entities']>,
    signals: readonly NodeJS.Signals[],
  ): Promise<CliDataSource> {
    if (env.databaseUrl !== undefined) {
      return new CliDataSource({ ...dataSourceOptions(env, env.databaseUrl), entities });
    }
    const starting = EmbeddedPostgres.attachOrStart({ dataDir: env.dataDir });
    endOnSignals(signals, starting);
    const postgres = await starting;
    return new CliDataSource({ ...dataSourceOptions(env, postgres.url), entities }, postgres);
  }

  /** Removes `query` from the log: the CLI logs every statement, and those lines hide the ones about migrations. */
  override setOptions(options: Partial<DataSourceOptions>): this {
    const { logging } = options;
    if (!Array.isArray(logging)) return super.setOptions(options);
    return super.setOptions({ ...options, logging: logging.filter((kind) => kind !== 'query') });
  }

  /** Also replaces the functions that have changed, as a start of the server does. */
  override async runMigrations(options?: Parameters<DataSource['runMigrations']>[0]): Promise<Migration[]> {
    const done = await super.runMigrations(options);
    await installFunctions(this);
    return done;
  }

  override async destroy(): Promise<void> {
    await super.destroy();
    await this.postgres?.stop();
  }
}
