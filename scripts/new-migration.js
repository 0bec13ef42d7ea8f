// `npm run migration:generate -- PATH` and `migration:create`: the TypeORM CLI, whose file is then put into the style of this
// repository.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [command = '', path = '', ...more] = process.argv.slice(2);
if (path === '' || path.startsWith('-')) {
  console.error(`Usage: npm run migration:${command} -- src/database/migrations/AddThings`);
  process.exit(1);
}

/** @param {string[]} args a program of node_modules and its arguments */
function run(...[program = '', ...args]) {
  const { status } = spawnSync(process.execPath, [join(root, 'node_modules', program), ...args], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

const options = command === 'generate' ? ['--pretty', '-d', join(root, 'dist', 'ormconfig.js')] : [];
run('typeorm/cli.js', `migration:${command}`, path, ...options, ...more);
// Named by its time and the last part of the path.
const made = readdirSync(dirname(path)).filter((name) => name.endsWith(`-${basename(path)}.ts`));
const file = made.sort().at(-1);
if (file !== undefined) {
  const written = join(dirname(path), file);
  const importType = '{"@typescript-eslint/consistent-type-imports":["error",{"fixStyle":"separate-type-imports"}]}';
  spawnSync(process.execPath, [
    join(root, 'node_modules/eslint/bin/eslint.js'),
    '--fix',
    '--rule',
    importType,
    written,
  ]);
  run('prettier/bin/prettier.cjs', '--log-level=warn', '--write', written);
}
