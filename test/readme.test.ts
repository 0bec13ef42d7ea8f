import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { variables } from '../src/config/env.js';
import { TestServer, createDatabase } from './support/server.js';

const README = fileURLToPath(new URL('../README.md', import.meta.url));
const CURL = fileURLToPath(new URL('support/curl.js', import.meta.url));

/** Returns the commands of the first `sh` block under a heading. */
async function commandsUnder(heading: string): Promise<string> {
  const text = await readFile(README, 'utf8');
  const match = new RegExp(`\\n${heading}\\n[^]*?\`\`\`sh\\n([^]*?)\`\`\``).exec(text);
  if (!match?.[1]) throw new Error(`No commands under ${heading}`);
  return match[1];
}

describe('README.md', () => {
  let folder: string;
  let server: TestServer;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quartermaster-tour-'));
    database = await createDatabase({ isEmpty: true });
    server = await TestServer.start({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  /**
   * Returns a PATH with curl. If curl is not installed, a script with the options that the tour needs takes its place.
   */
  async function pathWithCurl(): Promise<string> {
    const path = process.env.PATH ?? '';
    if (spawnSync('curl', ['--version']).status === 0) return path;
    await writeFile(join(folder, 'curl'), `#!/bin/sh\nexec '${process.execPath}' '${CURL}' "$@"\n`);
    await chmod(join(folder, 'curl'), 0o755);
    return folder + delimiter + path;
  }

  test('commands of the tour return the documented statuses', async () => {
    const commands = await commandsUnder('## A tour');
    const promised = [...commands.matchAll(/^api .* # (\d{3})$/gm)].map(([, status]) => status);
    expect(promised.length).toBeGreaterThan(8);
    const { stdout, stderr } = spawnSync('sh', ['-c', commands], {
      env: { PATH: await pathWithCurl(), QM: server.url },
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect([...stdout.matchAll(/^(\d{3})$/gm)].map(([, status]) => status)).toEqual(promised);
    expect(stdout).toContain('"code":"quota_exceeded"');
  });

  test('table of configuration lists exactly the variables that the server reads', async () => {
    const source = await readFile(fileURLToPath(new URL('../src/config/env.ts', import.meta.url)), 'utf8');
    const read = [...source.matchAll(/read\.\w+\('([A-Z_]+)'/g)].map(([, name]) => name);
    const section = (await readFile(README, 'utf8')).split('\n## Configuration\n')[1]?.split('\n## ')[0] ?? '';
    const listed = [...section.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, name]) => name);
    expect(listed.sort()).toEqual(read.sort());
  });

  test('docker-compose.yml passes every variable on, and .env.example names each', async () => {
    const read = (name: string): Promise<string> =>
      readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8');
    // The image sets HOST, PORT and DATA_DIR.
    const wanted = variables().filter(
      (name) => !name.endsWith('_FILE') && !['HOST', 'PORT', 'DATA_DIR'].includes(name),
    );
    const app = (await read('docker-compose.yml')).split('\n  postgres:\n')[0] ?? '';
    expect([...app.matchAll(/^ {6}([A-Z_0-9]+): .*\$\{/gm)].map(([, name]) => name).sort()).toEqual(wanted.sort());
    const example = [...(await read('.env.example')).matchAll(/^(?:# )?([A-Z_0-9]+)=/gm)].map(([, name]) => name);
    const composed = wanted.map((name) => (name === 'DATABASE_URL' ? 'POSTGRES_PASSWORD' : name));
    expect(example.sort()).toEqual(composed.sort());
  });
});
