import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { AppModule } from '../app.module.js';
import { AccountRescue } from '../auth/recovery/account-rescue.js';
import { ConfigError, Env } from '../config/env.js';
import { connect } from '../database/connect.js';
import { Database } from '../database/database.js';
import { EmbeddedPostgres } from '../embedded-postgres/embedded-postgres.js';
import { dataSourceOptions } from '../database/options.js';
import { randomPassword } from '../passwords/random-password.js';

const USAGE = 'Usage: npm run admin -- reset-password [login] | disable-totp [login]';

/** Reads the password that is piped to the command; undefined if there is none. */
type Piped = () => Promise<string | undefined>;

type Command = (rescue: AccountRescue, login: string | undefined, piped: Piped) => Promise<string>;

const COMMANDS: Record<string, Command> = {
  'reset-password': async (rescue, login, piped) => {
    const given = await piped();
    if (given !== undefined && /[\p{Cc}\ufffd]/u.test(given)) {
      throw new ConfigError('The password must be one line of valid UTF-8, without control characters.');
    }
    const password = given ?? randomPassword();
    const { name, endedSessions } = await rescue.resetPassword(login, password);
    const shown =
      given === undefined ? `\n  username  ${name}\n  password  ${password}\n(The password is shown only once.)` : '';
    return `The password of ${name} is set; sessions ended: ${endedSessions}.${shown}`;
  },
  'disable-totp': async (rescue, login) => `Two-factor sign-in of ${await rescue.disableTotp(login)} is off.`,
};

/**
 * Runs a command for the operator of the machine: `reset-password [login]` or `disable-totp [login]`.
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
      `${hasDatabase ? 'SECRET_KEY is not set, and there is no secret key' : 'DATABASE_URL is not set, and there is no database'} in ${env.dataDir}. Run this command with the environment variables of the server.`,
    );
  }
  // Uses the PostgreSQL of a running server and leaves it running. Otherwise starts one, and stops it at the end.
  const postgres =
    env.databaseUrl === undefined ? await EmbeddedPostgres.attachOrStart({ dataDir: env.dataDir }) : undefined;
  try {
    const used = postgres ? new Env({ ...variables, DATABASE_URL: postgres.url }) : env;
    await requireTables(used);
    const module = AppModule.forRoot(used);
    const app = await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
    try {
      return await command(app.get(AccountRescue), login, piped);
    } finally {
      await app.close();
    }
  } finally {
    await postgres?.stop();
  }
}

/** Does not run migrations: only the server does, and a server of an older version may be running. */
async function requireTables(env: Env): Promise<void> {
  const dataSource = await connect(dataSourceOptions(env, env.databaseUrl ?? ''));
  try {
    if (await new Database(dataSource, env).isReady()) return;
    throw new ConfigError('The database has no tables of this version. Start the server of this version first.');
  } finally {
    await dataSource.destroy();
  }
}
