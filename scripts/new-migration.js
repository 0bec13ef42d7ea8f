// `npm run migration:generate -- PATH` and `migration:create`: the TypeORM CLI, whose file is then put into the style of this
// repository.
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
// TypeORM names the file by its time and the last part of the path; here files are numbered.
const folder = dirname(path);
const files = readdirSync(folder).sort();
const made = files.filter((name) => name.endsWith(`-${basename(path)}.ts`)).at(-1);
if (made !== undefined) {
  const numbers = files.map((name) => /^(\d{4})-/.exec(name)?.[1] ?? '0');
  const number = String(Math.max(...numbers.map(Number)) + 1).padStart(4, '0');
  const name = basename(path)
    .replace(/(?<=[a-z0-9])[A-Z]/g, '-$&')
    .toLowerCase();
  const written = join(folder, `${number}-${name}.ts`);
  // The schema is that of DATABASE_SCHEMA.
  writeFileSync(written, readFileSync(join(folder, made), 'utf8').replaceAll('"public".', ''));
  rmSync(join(folder, made));
  const importType = '{"@typescript-eslint/consistent-type-imports":["error",{"fixStyle":"separate-type-imports"}]}';
  spawnSync(process.execPath, [
    join(root, 'node_modules/eslint/bin/eslint.js'),
    '--fix',
    '--rule',
    importType,
    written,
  ]);
  run('prettier/bin/prettier.cjs', '--log-level=warn', '--write', written);
  console.log(`Now ${written}. List it in ${join(folder, 'index.ts')}.`);
}
