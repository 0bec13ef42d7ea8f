import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { AppModule } from '../app.module.js';
import { AccountRescue } from '../auth/account-rescue.js';
import { ConfigError, Env } from '../config/env.js';
import { connect } from '../database/connect.js';
import { Database } from '../database/database.js';
import { EmbeddedPostgres } from '../database/embedded-postgres.js';
import { dataSourceOptions } from '../database/options.js';
import { randomPassword } from '../users/random-password.js';

const USAGE = 'Usage: npm run admin -- reset-password [login] | disable-totp [login]';

/** Reads the password that is piped to the command; undefined where none is. */
type Piped = () => Promise<string | undefined>;

type Command = (rescue: AccountRescue, login: string | undefined, piped: Piped) => Promise<string>;

const COMMANDS: Record<string, Command> = {
  'reset-password': async (rescue, login, piped) => {
    const given = await piped();
    const password = given ?? randomPassword();
    const { name, endedSessions } = await rescue.resetPassword(login, password);
    const shown = given === undefined ? `\n  username  ${name}\n  password  ${password}\n(It is shown this once.)` : '';
    return `The password of ${name} is set; sessions ended: ${endedSessions}.${shown}`;
  },
  'disable-totp': async (rescue, login) => `Two-factor sign-in of ${await rescue.disableTotp(login)} is off.`,
};

/**
 * Runs a command for the owner of the machine: `reset-password [login]` or `disable-totp [login]`.
 * @returns what it prints
 */
export async function runAdmin(
  [name = '', login, ...more]: string[],
  variables: NodeJS.ProcessEnv,
  piped: Piped,
): Promise<string> {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command || more.length > 0) throw new ConfigError(USAGE);
  const env = new Env(variables);
  const hasKey = env.secretKey !== undefined || existsSync(join(env.dataDir, 'secret-key'));
  const hasDatabase = env.databaseUrl !== undefined || existsSync(join(env.dataDir, 'postgres'));
  if (!hasKey || !hasDatabase) {
    throw new ConfigError(
      `${hasDatabase ? 'SECRET_KEY is not set and' : 'DATABASE_URL is not set and'} nothing is in ${env.dataDir}: run this with the variables of the server.`,
    );
  }
  // The PostgreSQL of a server that runs is used, and stays its own; else it runs for as long as this takes.
  const postgres =
    env.databaseUrl === undefined ? await EmbeddedPostgres.attachOrStart({ dataDir: env.dataDir }) : undefined;
  try {
    const used = postgres ? new Env({ ...variables, DATABASE_URL: postgres.url }) : env;
    await requireTables(used);
    const module = AppModule.forRoot(used);
    const app = await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
    try {
      return await command(app.get(AccountRescue, { strict: false }), login, piped);
    } finally {
      await app.close();
    }
  } finally {
    await postgres?.stop();
  }
}

/** Migrations are for the server to run: one of an older version may be running. */
async function requireTables(env: Env): Promise<void> {
  const dataSource = await connect(dataSourceOptions(env, env.databaseUrl ?? ''));
  try {
    if (await new Database(dataSource, env).isReady()) return;
    throw new ConfigError('The database lacks tables of this version: start the server of this version first.');
  } finally {
    await dataSource.destroy();
  }
}
