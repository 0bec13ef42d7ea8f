import type { Step } from '../../database/citus.js';
import { distribute } from '../../database/distribute.js';
import type { Io, Outcome } from '../command.js';
import { withDatabase } from '../direct/database.js';

/** `quartermaster db distribute`. */
export async function run(io: Io, { dryRun: isDryRun = false }: { dryRun?: boolean }): Promise<Outcome> {
  const steps = await withDatabase(io, (env) => distribute(env, env.databaseUrl ?? '', { isDryRun }));
  const listed = steps.map(({ name, becomes }) => ({ name, becomes }));
  return { data: { isDryRun, steps: listed }, text: describe(steps, isDryRun) };
}

function describe(steps: readonly Step[], isDryRun: boolean): string {
  const verb = isDryRun ? 'would become' : 'is now a';
  return steps.map(({ name, becomes }) => `${name} ${verb} ${becomes}`).join('\n') || 'There is nothing to do.';
}
