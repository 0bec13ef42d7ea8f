import type { PoolClient } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { MigrationExecutor } from 'typeorm/migration/MigrationExecutor.js';
import { ConfigError, type Env } from '../../config/env.js';
import { migrationsOf, refuseForeignObjects } from '../inspect.js';
import { alone, migrate } from '../migrate.js';
import type { BackupResult, Manifest } from './format.js';
import type { BackupReader } from './read-backup.js';

/**
 * Restores a backup into a database without tables, in one transaction. Then runs the migrations that the backup does
 * not have, and installs the functions: triggers must not count the loaded rows.
 * @throws ConfigError if the database is not empty, or the backup is damaged or of a newer version
 */
export async function restoreBackup(env: Env, reader: BackupReader, manifest: Manifest): Promise<BackupResult> {
  const url = env.databaseUrl ?? '';
  const result = await alone(env, url, async (dataSource, holder) => {
    if ((await migrationsOf(holder, env.databaseSchema)).length > 0) {
      throw new ConfigError('The database has tables already. Restore into an empty database, or an empty DATA_DIR.');
    }
    await refuseForeignObjects(holder, env.databaseSchema);
    await createTables(dataSource, holder, manifest);
    return reader.load((await holder.connect()) as PoolClient, manifest);
  });
  await migrate(env, url);
  return result;
}

/** Runs the migrations that the backed-up database had. */
async function createTables(
  dataSource: DataSource,
  holder: QueryRunner,
  { migrations, version }: Manifest,
): Promise<void> {
  const nameOf = (migration: { name?: string }): string => migration.name ?? migration.constructor.name;
  const known = dataSource.migrations.map(nameOf);
  const unknown = migrations.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError(
      `The backup was made by version ${version}, which has the migration ${unknown}: use that version.`,
    );
  }
  const those = dataSource.migrations.filter((migration) => migrations.includes(nameOf(migration)));
  Object.assign(dataSource, { migrations: those });
  const executor = new MigrationExecutor(dataSource, holder);
  executor.transaction = 'none';
  await executor.executePendingMigrations();
}
