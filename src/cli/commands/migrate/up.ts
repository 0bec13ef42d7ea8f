import { migrate, readState } from '../../../database/migrate.js';
import type { Io, Outcome } from '../../command.js';
import { withDatabase } from '../../direct/database.js';

/** `quartermaster migrate up`. */
export async function run(io: Io): Promise<Outcome> {
  return withDatabase(
    io,
    async (env) => {
      const url = env.databaseUrl ?? '';
      const before = await readState(env, url);
      await migrate(env, url);
      const done = before.migrations.filter(({ isDone }) => !isDone).map(({ name }) => name);
      const { outdatedFunctions } = before;
      const lines = [
        ...done.map((name) => `done  ${name}`),
        ...(outdatedFunctions.length > 0 ? [`replaced functions: ${outdatedFunctions.join(', ')}`] : []),
      ];
      return { data: { done, outdatedFunctions }, text: lines.join('\n') || 'There is nothing to do.' };
    },
    { mayCreate: true },
  );
}
