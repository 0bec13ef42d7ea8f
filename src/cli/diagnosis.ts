import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Env } from '../config/env.js';
import { misspelt } from '../config/misspelt.js';
import type { MigrationState } from '../database/migrate.js';
import { durabilityOf, type ServerFacts } from '../database/server-facts.js';
import { addressOf, tryListening } from '../process/listening.js';
import { reasonOf } from './system-error.js';

/** One result of `quartermaster doctor`. */
export interface Finding {
  what: string;
  isOk: boolean;
  detail: string;
  /** What to do. */
  remedy?: string;
}

/** The newest major version of PostgreSQL that is tested. */
const NEWEST = 18;

/**
 * Milliseconds by which the clocks may differ. Access tokens expire by the clock of the server, sessions and limits by
 * that of the database.
 */
const MAX_CLOCK_DIFFERENCE = 2_000;

const GIB = 2 ** 30;

/** Connections for migrations, commands, backups and psql. */
const SPARE = 10;

export function checkVariables(variables: NodeJS.ProcessEnv): Finding[] {
  const lines = misspelt(variables);
  if (lines.length === 0) return [ok('configuration', 'every variable can be read')];
  return lines.map((line) => problem('configuration', line, 'correct its name, or remove it'));
}

/** Checks that this user can use the folder of the embedded database, or create it. */
export function checkDataDir({ dataDir }: Env): Finding {
  const what = 'data folder';
  const folder = existing(dataDir);
  const remedy = 'run this command as the user of the server, or correct DATA_DIR';
  if (!statSync(folder).isDirectory()) return problem(what, `${folder} is not a folder`, remedy);
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return ok(what, folder === dataDir ? dataDir : `the first start creates ${dataDir}`);
  } catch (error) {
    return problem(what, `${folder} cannot be used: ${reasonOf(error as NodeJS.ErrnoException)}`, remedy);
  }
}

export function checkSecretKey({ secretKey, dataDir }: Env): Finding {
  if (secretKey !== undefined) return ok('secret key', 'SECRET_KEY is set');
  const file = join(dataDir, 'secret-key');
  if (!existsSync(file)) return ok('secret key', `the first start creates ${file}`);
  const isPrivate = process.platform === 'win32' || (statSync(file).mode & 0o077) === 0;
  return isPrivate
    ? ok('secret key', file)
    : problem('secret key', `other users of this machine can read ${file}`, `chmod 600 ${file}`);
}

/** Returns a folder, or the first one above it that exists. */
function existing(folder: string): string {
  return existsSync(folder) ? folder : existing(dirname(folder));
}

/** Checks the free space for the embedded database. */
export async function checkDisk({ dataDir }: Env): Promise<Finding> {
  const { bavail, bsize } = await statfs(existing(dataDir));
  const free = (bavail * bsize) / GIB;
  const detail = `${free.toFixed(1)} GiB are free for ${dataDir}`;
  return free >= 1 ? ok('disk', detail) : problem('disk', detail, 'free at least 1 GiB, or move DATA_DIR');
}

/** Checks whether the server can listen, or listens already. */
export async function checkPort(env: Env): Promise<Finding> {
  const { host, port } = await addressOf(env);
  const at = `${host}:${port}`;
  try {
    await tryListening(env);
    return ok('port', port === 0 ? 'a free one is picked' : `${at} is free`);
  } catch (error) {
    if (await answersReady(env)) return ok('port', `Quartermaster answers at ${at}`);
    const detail = (error as Error).message.replace(/\.$/, '');
    return problem('port', detail, 'set PORT and HOST to what is free and this user may use');
  }
}

async function answersReady(env: Env): Promise<boolean> {
  const { host, port } = await addressOf(env);
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  const response = await fetch(`http://${name}:${port}${env.basePath}/livez`, {
    signal: AbortSignal.timeout(5_000),
  }).catch(() => null);
  return response?.ok === true;
}

/** Checks the version of PostgreSQL, and the settings that the guarantee needs. */
export function checkServer(facts: ServerFacts & { clockAhead: number }, env: Env): Finding[] {
  const major = Math.trunc(facts.versionNumber / 10_000);
  const needed = env.workers * env.databasePool + SPARE;
  const usable = facts.maxConnections - facts.reservedConnections;
  return [
    judge(major >= 15 && major <= NEWEST, 'PostgreSQL', facts.version, `use PostgreSQL 15 to ${NEWEST}`),
    judge(facts.encoding === 'UTF8', 'encoding', facts.encoding, `create a database with ENCODING 'UTF8'`),
    judge(!facts.isStandby, 'role', facts.isStandby ? 'standby' : 'primary', 'use the address of the primary'),
    ...durabilityOf(facts).map(({ name, value, isSafe, danger }) =>
      judge(isSafe, name, value, `set ${name} = on: ${danger}`),
    ),
    judge(
      ...([facts.dataChecksums === 'on', 'data_checksums', facts.dataChecksums] as const),
      'run pg_checksums --enable while PostgreSQL is stopped: without checksums a faulty disk goes unnoticed',
    ),
    judge(
      ...([usable >= needed, 'connections', `${usable} for ${needed} (WORKERS × DATABASE_POOL + ${SPARE})`] as const),
      'raise max_connections, or lower DATABASE_POOL or WORKERS',
    ),
    judge(
      ...([Math.abs(facts.clockAhead) <= MAX_CLOCK_DIFFERENCE, 'clock'] as const),
      clockOf(facts),
      'synchronize both clocks, for instance with chrony',
    ),
  ];
}

function clockOf({ clockAhead }: { clockAhead: number }): string {
  const seconds = (Math.abs(clockAhead) / 1_000).toFixed(1);
  if (seconds === '0.0') return 'as that of the database server';
  return `${seconds} s ${clockAhead > 0 ? 'ahead of' : 'behind'} that of the database server`;
}

export function checkTables({ migrations, outdatedFunctions }: MigrationState): Finding {
  const pending = migrations.filter(({ isDone }) => !isDone).map(({ name }) => name);
  const wrong = [...pending, ...outdatedFunctions];
  const detail = wrong.length === 0 ? `${migrations.length} migrations done` : `not up to date: ${wrong.join(', ')}`;
  return judge(wrong.length === 0, 'tables', detail, 'run quartermaster migrate up, or start the server');
}

export function ok(what: string, detail: string): Finding {
  return { what, isOk: true, detail };
}

export function problem(what: string, detail: string, remedy: string): Finding {
  return { what, isOk: false, detail, remedy };
}

function judge(isOk: boolean, what: string, detail: string, remedy: string): Finding {
  return isOk ? ok(what, detail) : problem(what, detail, remedy);
}
