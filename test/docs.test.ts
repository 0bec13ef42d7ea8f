import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ADMIN_PASSWORD, SECRET_KEY, TestServer, createDatabase, inherited } from './support/server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const GUIDES = 'docs/guides';

/** Pages whose commands are run: those in blocks marked `sh`. Blocks marked `shell` need more than a running server. */
const PAGES = [
  'README.md',
  'docs/getting-started.md',
  ...readdirSync(join(ROOT, GUIDES)).map((name) => `${GUIDES}/${name}`),
];

/** Returns the commands of all `sh` blocks of a page. */
async function commandsOf(page: string): Promise<string> {
  const text = await readFile(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block).join('');
}

const has = (tool: string, argument: string): boolean => spawnSync(tool, [argument]).status === 0;

/** The signing guide needs programs that a machine may lack. */
const canRun = (page: string): boolean =>
  !page.endsWith('sign-requests.md') || (has('openssl', 'version') && has('curl', '--version'));

describe('commands in the documentation', () => {
  let folder: string;
  let path: string;
  let server: TestServer;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quartermaster-docs-'));
    await cp(join(ROOT, 'docs/examples'), join(folder, 'docs/examples'), { recursive: true });
    await program('quartermaster', 'bin/quartermaster.js');
    // If curl is not installed, a script with the options that the pages need takes its place.
    if (!has('curl', '--version')) await program('curl', 'test/support/curl.js');
    path = folder + delimiter + (process.env.PATH ?? '');
    database = await createDatabase({ isEmpty: true });
    server = await TestServer.start({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Makes a script of the repository a program in the PATH of the commands. */
  async function program(name: string, script: string): Promise<void> {
    await writeFile(join(folder, name), `#!/bin/sh\nexec '${process.execPath}' '${join(ROOT, script)}' "$@"\n`);
    await chmod(join(folder, name), 0o755);
  }

  /** Runs commands in one shell, which stops at the first that fails. @returns what they print, errors included */
  function run(commands: string): Promise<{ out: string; code: number | null }> {
    return new Promise((resolve, reject) => {
      const env = { ...inherited(), ADMIN_PASSWORD, SECRET_KEY, DATABASE_URL: database.url };
      const child = spawn('sh', ['-euc', `exec 2>&1\n${commands}`], {
        cwd: folder,
        env: { ...env, PATH: path, QM: server.url },
      });
      let out = '';
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
      child.on('error', reject);
      child.on('close', (code) => resolve({ out, code }));
    });
  }

  test.each(PAGES.filter(canRun))('%s: run as written, and return the documented statuses', async (page) => {
    const commands = await commandsOf(page);
    const promised = [...commands.matchAll(/ # (\d{3})$/gm)].map(([, status]) => status);
    expect(promised.length).toBeGreaterThan(0);
    const { out, code } = await run(commands);
    const statuses = [...out.matchAll(/^(\d{3})$/gm)].map(([, status]) => status);
    expect({ out, code, statuses }).toEqual({ out, code: 0, statuses: promised });
  });
});
