import { Env } from '../../config/env.js';
import { readState } from '../../database/migrate.js';
import { readServerFacts } from '../../database/server-facts.js';
import type { Io, Outcome } from '../command.js';
import { isInDataDir } from '../direct/data-dir.js';
import { withDatabase } from '../direct/database.js';
import {
  checkDataDir,
  checkDisk,
  checkPort,
  checkSecretKey,
  checkServer,
  checkTables,
  checkVariables,
  ok,
  problem,
  type Finding,
} from '../diagnosis.js';
import { EXIT } from '../exit-codes.js';
import { explainFailure } from '../failure.js';
import { hasDatabaseUrl } from '../../process/start-error.js';
import { withPlatform } from '../direct/platform.js';

/** `quartermaster doctor`. */
export async function run(io: Io): Promise<Outcome> {
  const findings = await examine(io);
  const isOk = findings.every((each) => each.isOk);
  return { data: { isOk, findings }, text: describe(findings), exitCode: isOk ? EXIT.done : EXIT.problems };
}

async function examine(io: Io): Promise<Finding[]> {
  let env: Env;
  try {
    env = new Env(io.variables);
  } catch (error) {
    return [problem('configuration', explain(error, io), 'correct this variable')];
  }
  const findings = checkVariables(io.variables);
  if (env.databaseUrl === undefined) {
    const folder = checkDataDir(env);
    findings.push(folder);
    if (!folder.isOk) return findings;
    findings.push(await checkDisk(env));
  }
  findings.push(checkSecretKey(env), await checkPort(env));
  if (env.databaseUrl === undefined && !isInDataDir(env, 'postgres')) {
    return [...findings, ok('database', `the first start creates it in ${env.dataDir}`)];
  }
  return [...findings, ...(await examineDatabase(io))];
}

async function examineDatabase(io: Io): Promise<Finding[]> {
  try {
    return await withDatabase(io, async (env) => {
      const url = env.databaseUrl ?? '';
      const tables = checkTables(await readState(env, url));
      const findings = [...checkServer(await readServerFacts(env, url), env), tables];
      return tables.isOk ? [...findings, await examineServices(io)] : findings;
    });
  } catch (error) {
    const remedy = hasDatabaseUrl(io.variables)
      ? 'start PostgreSQL, or correct DATABASE_URL'
      : 'run this command on the machine and as the user of the server';
    return [problem('database', explain(error, io), remedy)];
  }
}

/** Loads the services, which also checks that SECRET_KEY opens what is encrypted in the database. */
async function examineServices(io: Io): Promise<Finding> {
  try {
    return await withPlatform(io, () => Promise.resolve(ok('services', 'SECRET_KEY is that of the database')));
  } catch (error) {
    return problem('services', explain(error, io), 'set the SECRET_KEY of the server');
  }
}

function explain(error: unknown, { variables }: Io): string {
  return explainFailure(error, variables).replace(/\.$/, '');
}

function describe(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  return findings
    .map(({ what, isOk, detail, remedy }) => {
      const line = `${isOk ? 'ok      ' : 'PROBLEM '} ${what.padEnd(width)}  ${detail}`;
      return remedy === undefined ? line : `${line}\n${' '.repeat(width + 11)}→ ${remedy}`;
    })
    .join('\n');
}
