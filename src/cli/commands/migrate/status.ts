import { readState, type MigrationState } from '../../../database/migrate.js';
import type { Io, Outcome } from '../../command.js';
import { withDatabase } from '../../direct/database.js';
import { EXIT } from '../../exit-codes.js';

/** `quartermaster migrate status`. */
export async function run(io: Io): Promise<Outcome> {
  const state = await withDatabase(io, (env) => readState(env, env.databaseUrl ?? ''));
  const { migrations, outdatedFunctions } = state;
  const isCurrent = migrations.every(({ isDone }) => isDone) && outdatedFunctions.length === 0;
  return { data: { isCurrent, ...state }, text: describe(state), exitCode: isCurrent ? EXIT.done : EXIT.problems };
}

function describe({ migrations, outdatedFunctions }: MigrationState): string {
  const lines = migrations.map(({ name, isDone }) => `${isDone ? 'done   ' : 'pending'}  ${name}`);
  if (outdatedFunctions.length > 0) lines.push(`outdated functions: ${outdatedFunctions.join(', ')}`);
  return lines.join('\n');
}
