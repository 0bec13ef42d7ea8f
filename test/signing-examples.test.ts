import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sharedApi, uniqueName, type Account } from './support/api.js';
import { inherited } from './support/server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const api = sharedApi();

const has = (tool: string, argument: string): boolean => spawnSync(tool, [argument]).status === 0;

/** Node is always installed; the shell examples are skipped without openssl and curl. */
const describeWithTools = has('openssl', 'version') && has('curl', '--version') ? describe : describe.skip;

let folder: string;
let user: Account;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-signing-'));
  user = await api.createUser();
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a program asynchronously in the repository. @returns its output */
function run(program: string, args: string[], env: Record<string, string>): Promise<{ out: string; error: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, env: { ...inherited(), ...env } });
    let [out, error] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (error += chunk.toString()));
    child.on('error', reject);
    child.on('close', () => resolve({ out, error }));
  });
}

async function values(whose: { accessToken: string } = user): Promise<string[]> {
  const { body } = await api.as(whose).get('/v1/resources?limit=100');
  return body.data.map(({ value }: { value: string }) => value);
}

describe('signing examples', () => {
  let env: Record<string, string>;

  beforeAll(async () => {
    const { body } = await api.as(user).post('/v1/auth/signing-keys', { name: 'examples' });
    const PRIVATE_KEY = join(folder, 'made.pem');
    await writeFile(PRIVATE_KEY, body.privateKey, { mode: 0o600 });
    env = { KEY_ID: body.id, PRIVATE_KEY };
  });

  test('docs/examples/sign.mjs: signs requests with a query, with a body, and with neither', async () => {
    const sign = (...args: string[]) => run(process.execPath, ['docs/examples/sign.mjs', ...args], env);
    const value = `${uniqueName()} é "quoted"`;
    expect((await sign('POST', `${api.url}/v1/resources`, JSON.stringify({ value }))).error).toBe('201\n');
    expect(await values()).toContain(value);
    const list = await sign('GET', `${api.url}/v1/resources?limit=1`);
    expect(list).toMatchObject({ error: '200\n', out: expect.stringContaining('"nextCursor"') });
    expect((await sign('GET', `${api.url}/v1/users/me`)).out).toContain(user.id);
    env.IDEMPOTENCY_KEY = uniqueName();
    const twice = [await sign('POST', `${api.url}/v1/tasks`, '{}'), await sign('POST', `${api.url}/v1/tasks`, '{}')];
    delete env.IDEMPOTENCY_KEY;
    expect(twice[0]).toMatchObject({ error: '201\n' });
    expect(twice[1]).toEqual(twice[0]);
    expect(
      (
        await run(process.execPath, ['docs/examples/sign.mjs', 'GET', `${api.url}/v1/users/me`], {
          ...env,
          KEY_ID: user.id,
        })
      ).error,
    ).toBe('401\n');
  });

  describeWithTools('for a shell', () => {
    test('docs/examples/sign.sh: signs requests with a query, with a body, and with neither', async () => {
      const sign = (...args: string[]) => run('sh', ['docs/examples/sign.sh', ...args], env);
      const value = `${uniqueName()} é 'quoted' $HOME`;
      const made = await sign('POST', `${api.url}/v1/resources`, JSON.stringify({ value }));
      expect(made).toEqual({ error: '', out: expect.stringMatching(/\n201\n$/) });
      expect(await values()).toContain(value);
      expect((await sign('GET', `${api.url}/v1/resources?limit=1`)).out).toMatch(/"nextCursor".*\n200\n$/);
      expect((await sign('GET', `${api.url}/v1/users/me`)).out).toMatch(new RegExp(`${user.id}.*\n200\n$`));
      expect((await sign('DELETE', `${api.url}/v1/store/a%2Fb`)).out).toMatch(/\n404\n$/);
      expect((await sign('HEAD', `${api.url}/v1/users/me`)).out).toMatch(/^HTTP\/1.1 200[^]*\n200\n$/);
      env.IDEMPOTENCY_KEY = uniqueName();
      const twice = [await sign('POST', `${api.url}/v1/tasks`, '{}'), await sign('POST', `${api.url}/v1/tasks`, '{}')];
      delete env.IDEMPOTENCY_KEY;
      expect(twice[0]!.out).toMatch(/\n201\n$/);
      expect(twice[1]).toEqual(twice[0]);
    });
  });
});
