import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = ['bin', 'src', 'sdk/src', 'scripts', 'ormconfig.ts', 'package.json', 'package-lock.json'];
const CONFIGS = ['tsconfig.json', 'tsconfig.build.json', 'nest-cli.json'];

let folder: string;

beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'quartermaster-build-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Copies the files of a clone, and links the installed packages. */
async function clone(name: string): Promise<string> {
  const to = join(folder, name);
  for (const each of [...SOURCES, ...CONFIGS]) await cp(join(ROOT, each), join(to, each), { recursive: true });
  await mkdir(join(to, 'docs'));
  await symlink(join(ROOT, 'node_modules'), join(to, 'node_modules'));
  return to;
}

/** Runs Node until it exits. */
async function node(...args: string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
  });
}

test('build and openapi in a folder whose name has spaces, quotes and other special characters: exit code 0', async () => {
  const to = await clone(`müller 中文 a%20b it's 🚀 #1? & [x] "y"`);
  expect(await node(join(to, 'scripts/build.js'))).toMatchObject({ code: 0, stderr: '' });
  expect(await node(join(to, 'dist/src/openapi.js'))).toMatchObject({ code: 0, stderr: '' });
  expect(await readFile(join(to, 'docs/openapi.json'), 'utf8')).toBe(
    await readFile(join(ROOT, 'docs/openapi.json'), 'utf8'),
  );
});

test('start when dist/ cannot be written: exit code 1 with one line on stderr', async () => {
  const to = await clone('somewhere');
  await writeFile(join(to, 'dist'), 'a file in place of the folder');
  const { code, stdout, stderr } = await node(join(to, 'bin/quartermaster.js'));
  expect({ code, stdout, lines: stderr.split('\n').length }).toEqual({ code: 1, stdout: '', lines: 2 });
  expect(stderr).toMatch(
    /^The build in dist\/ is missing or older .+ cannot be written \(EEXIST\): run `npm run build` as/,
  );
});

test('build with a syntax error: exit code 1 with the place of the error', async () => {
  const to = await clone('somewhere');
  // The other sources are not needed, and reading them takes the most time.
  await rm(join(to, 'src'), { recursive: true });
  await mkdir(join(to, 'src/config'), { recursive: true });
  await writeFile(join(to, 'src/config/version.ts'), 'export const VERSION = ;\n');
  const { code, stderr } = await node(join(to, 'scripts/build.js'));
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: 'src/config/version.ts(1,24): error TS1109: Expression expected.\n',
  });
});

test.each(['18.20.4', '20.18.1', '21.7.3', '22.11.0'])(
  'start with Node %s: exit code 1 with one line on stderr',
  async (version) => {
    const script = `
    Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });
    await import('${pathToFileURL(join(ROOT, 'bin/quartermaster.js')).href}');`;
    expect(await node('--input-type=module', '-e', script)).toEqual({
      code: 1,
      stdout: '',
      stderr: `Quartermaster needs Node 20.19, or 22.12 or newer; this is Node ${version}.\n`,
    });
  },
);

test('the packed package: the built program without sources, tests and types', async () => {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const { stdout } = await promisify(execFile)('npm', args, { cwd: ROOT });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string; mode: number }[] }];
  const paths = files.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining([
      ...['LICENSE', 'README.md', 'SECURITY.md', 'package.json', 'bin/quartermaster.js', 'dist/src/main.js'],
      ...['dist/src/cli/main.js', 'dist/src/database/functions/usage.sql'],
    ]),
  );
  expect(
    paths.filter((path) => !/^(dist\/(src|sdk)\/.+\.(js|sql)|bin\/.+\.js|console\/dist\/.+|[^/]+)$/.test(path)),
  ).toEqual([]);
  expect(files.find(({ path }) => path === 'bin/quartermaster.js')?.mode).toBe(0o755);
});

test.each(['generate', 'create'])(
  'migration:%s without a path: exit code 1 with its usage in one line',
  async (command) => {
    expect(await node(join(ROOT, 'scripts/new-migration.js'), command)).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: `Usage: npm run migration:${command} -- src/database/migrations/AddThings\n`,
    });
  },
);
