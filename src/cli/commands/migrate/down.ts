import { undoLast } from '../../../database/migrate.js';
import type { Io, Outcome } from '../../command.js';
import { withDatabase } from '../../direct/database.js';

/** `quartermaster migrate down`. */
export async function run(io: Io, name: string): Promise<Outcome> {
  await withDatabase(io, (env) => undoLast(env, env.databaseUrl ?? '', name));
  return { data: { undone: name }, text: `undone  ${name}` };
}
