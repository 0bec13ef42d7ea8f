import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sharedApi, uniqueName, type Api } from './support/api.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { serversOfTests } from './support/other-server.js';
import { ADMIN_PASSWORD, command, inherited } from './support/server.js';
import { registerKey } from './support/signer.js';
import { until } from './support/until.js';

const BIN = fileURLToPath(new URL('../bin/quartermaster.js', import.meta.url));

let folder: string;
let admin: Api;
/** The credential. Includes a database that cannot be used, so that no command works on one. */
let env: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-api-cli-'));
  const { accessToken } = await sharedApi().signIn('admin', ADMIN_PASSWORD);
  admin = sharedApi().as({ accessToken });
  env = { DATABASE_URL: 'unusable', QUARTERMASTER_TOKEN: accessToken };
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, ...lines: string[]): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, lines.map((line) => `${line}\n`).join(''));
  return path;
}

/** Runs a command with --json on a server. */
async function json(args: string[], { url = admin.url, variables = env } = {}): Promise<any> {
  const { code, stdout, stderr } = await command(variables, [...args, '--url', url, '--json']);
  return { code, stderr, ...(stdout.startsWith('{') ? JSON.parse(stdout) : {}) };
}

async function rejectedLines(path: string, kind = 'rejected'): Promise<string[]> {
  return (await readFile(`${path}.${kind}.csv`, 'utf8')).trim().split('\n').slice(1);
}

const answering = serversOfTests();

/** Starts a proxy of the server that first answers requests itself, if `listener` returns true. */
async function intercepting(listener: (...args: Parameters<RequestListener>) => boolean): Promise<string> {
  return answering((request, response) => {
    if (listener(request, response)) return;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      void fetch(`${admin.url}${request.url!}`, {
        method: request.method!,
        headers: Object.fromEntries(
          Object.entries(request.headers).filter(([name]) =>
            /^(authorization|content-type|idempotency-key)$/.test(name),
          ),
        ) as Record<string, string>,
        ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
      }).then(async (answer) => {
        response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' });
        response.end(Buffer.from(await answer.arrayBuffer()));
      });
    });
  });
}

describe('quartermaster users over the API', () => {
  test('import: accounts, the same report as on the database, and the audit log names the administrator', async () => {
    const [plain, none, taken] = [uniqueName(), uniqueName(), (await admin.createUser()).username];
    const path = await file(
      'users.csv',
      'username,email,password,passwordHash,firstName,status,plan,credits',
      `${plain},${plain}@example.com,"Analytical,""1843",,Ada,,,7`,
      `${none},,,,,disabled,,0`,
      `${taken.toUpperCase()},,,,,,,`,
      `${plain},,,,,,,`,
      'a b,,,,,,,',
      `${uniqueName()},,weak,,,,,`,
      `${uniqueName()},,,,,,nothing,`,
      `${uniqueName()},,,"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",,,,`,
      'ada,too,many,fields,,,,,',
    );
    expect(await json(['users', 'import', path, '--dry-run'])).toMatchObject({ code: 3, valid: 2, rejected: 7 });
    expect(await json(['users', 'import', path])).toMatchObject({ code: 3, stderr: '', created: 2, rejected: 7 });
    const reasons = await rejectedLines(path);
    expect(reasons).toEqual([
      '4,The username is taken.',
      '5,The username is taken.',
      expect.stringMatching(/^6,"?username must /),
      expect.stringMatching(/^7,"?password must /),
      '8,plan is not the slug of a plan.',
      '9,passwordHash can be imported on the database only.',
      '10,"has 9 fields, and the header has 8"',
    ]);
    expect(await rejectedLines(path, 'dry-run')).toEqual(reasons);
    expect((await admin.signIn(plain, 'Analytical,"1843')).user).toMatchObject({ firstName: 'Ada', credits: 7 });
    const made = (await admin.get(`/v1/users/${none}`)).body;
    expect(made).toMatchObject({ status: 'disabled', credits: 0 });
    const me = (await admin.get('/v1/users/me')).body;
    const entries = (await admin.get(`/v1/audit?target=${made.id}&action=user.create`)).body.data;
    expect(entries).toMatchObject([{ actor: me.id }]);
    await expect(stat(`${path}.progress`)).rejects.toThrow('ENOENT');
  });

  test('import through a proxy that loses the first response to each request: every account exists once', async () => {
    const proxy = await CuttingProxy.to(admin.url);
    const names = Array.from({ length: 20 }, () => uniqueName());
    const path = await file('lost.csv', 'username,password', ...names.map((name) => `${name},Analytical-1843`));
    expect(await json(['users', 'import', path], { url: proxy.url })).toMatchObject({ code: 0, created: 20 });
    expect(proxy.lost).toBe(20);
    await proxy.close();
  });

  test('import that is killed, and continued with another credential: every account exists once', async () => {
    const names = Array.from({ length: 30 }, () => uniqueName());
    const path = await file(
      'killed.csv',
      'username,status',
      ...names.map((name, i) => `${name},${i % 2 ? 'disabled' : ''}`),
    );
    let made = 0;
    // Answers ten requests. The others get no answer until the import is killed.
    const url = await intercepting(({ method }) => method === 'POST' && ++made > 10);
    const child = spawn(process.execPath, [BIN, 'users', 'import', path, '--url', url], {
      env: { ...inherited(), ...env },
      stdio: 'ignore',
    });
    await until(() => made > 10);
    child.kill('SIGKILL');
    await once(child, 'close');

    // The journal belongs to the address.
    expect(await json(['users', 'import', path])).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining('The interrupted import of this file went to another place') },
    });
    made = -1_000;
    const key = await registerKey(admin);
    const signing = {
      DATABASE_URL: 'unusable',
      QUARTERMASTER_SIGNING_KEY_ID: key.id,
      QUARTERMASTER_PRIVATE_KEY: key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    };
    // A signature names the address of the server: no proxy, so the journal is moved by hand.
    const journal = await readFile(`${path}.progress`, 'utf8');
    await writeFile(`${path}.progress`, journal.replace(url, admin.url));
    expect(await json(['users', 'import', path], { variables: signing })).toMatchObject({
      code: 0,
      created: 30,
      rejected: 0,
    });
    const statuses = await Promise.all(
      names.slice(0, 4).map(async (name) => (await admin.get(`/v1/users/${name}`)).body.status),
    );
    expect(statuses).toEqual(['active', 'disabled', 'active', 'disabled']);
  });

  test('import while a proxy answers 429: waits as Retry-After says', async () => {
    let refused = 0;
    const url = await intercepting(({ method }, response) => {
      if (method !== 'POST' || refused >= 3) return false;
      refused++;
      response.writeHead(429, { 'retry-after': '0', 'content-type': 'text/plain' }).end('slow down');
      return true;
    });
    const path = await file('slow.csv', 'username', uniqueName(), uniqueName());
    expect(await json(['users', 'import', path], { url })).toMatchObject({ code: 0, created: 2 });
    expect(refused).toBe(3);
  });

  test('import with a token that is refused: stops and keeps the journal', async () => {
    let made = 0;
    const url = await intercepting(({ method }, response) => {
      if (method !== 'POST' || ++made <= 1) return false;
      const problem = {
        type: 'about:blank',
        title: 'x',
        status: 401,
        code: 'invalid_token',
        detail: 'The token has expired',
      };
      response.writeHead(401, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
      return true;
    });
    const path = await file('expired.csv', 'username', ...Array.from({ length: 20 }, () => uniqueName()));
    expect(await json(['users', 'import', path], { url })).toMatchObject({
      ...{ code: 1, stderr: '{"error":"The server answered 401: The token has expired.","exitCode":1}\n' },
    });
    made = -100;
    expect(await json(['users', 'import', path], { url })).toMatchObject({ code: 0, created: 20, rejected: 0 });
  });

  test('export: all accounts, as CSV and NDJSON', async () => {
    const user = await admin.createUser({ firstName: 'Ada', credits: 3 });
    const path = join(folder, 'export.ndjson');
    const exported = await json(['users', 'export', path]);
    expect(exported).toMatchObject({ code: 0, file: path });
    const users = (await readFile(path, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(users).toHaveLength(exported.lines);
    expect(new Set(users.map(({ id }) => id)).size).toBe(users.length);
    expect(users.find(({ id }) => id === user.id)).toEqual((await admin.get(`/v1/users/${user.id}`)).body);
    const { stdout } = await command(env, ['users', 'export', '--format', 'csv', '--url', admin.url]);
    expect(stdout).toMatch(/^id,username,email,/);
    expect(stdout).toContain(`${user.id},${user.username},,Ada,,user,active,,3,`);
  });
});

describe('quartermaster store over the API', () => {
  const VALUES = ['3.14159265358979323846', '1e400', '{"b":1,"a":[2.0,"\\u0000é🚀"]}', 'null', '"a\\nb"'];

  test('export and import: values keep every digit, and entries their time to live', async () => {
    const [from, to] = [await admin.createUser(), await admin.createUser()];
    const entries = Array.from({ length: 105 }, (_, i) => {
      const key = String(i).padStart(3, '0');
      return `{"key":"k/${key} ü","value":${VALUES[i % 5]!}${i === 1 ? ',"ttlSeconds":3600' : ''}}`;
    });
    await admin.as(from).post('/v1/store/write', undefined, { raw: `{"entries":[${entries.join(',')}]}` });
    const path = join(folder, 'store.ndjson');
    expect(await json(['store', 'export', from.username, path])).toMatchObject({ code: 0, lines: 105 });
    const text = await readFile(path, 'utf8');
    expect(text.replace(/"ttlSeconds":3[56]\d\d/, '"ttlSeconds":3600')).toBe(`${entries.join('\n')}\n`);

    expect(await json(['store', 'import', to.username, path])).toMatchObject({ code: 0, written: 105, skipped: 0 });
    expect(await json(['store', 'import', to.id, path])).toMatchObject({ code: 0, written: 0, skipped: 105 });
    const copied = await command(env, ['store', 'export', to.username, '--url', admin.url]);
    const withoutTtl = (each: string): string => each.replaceAll(/"ttlSeconds":\d+/g, '');
    expect(withoutTtl(copied.stdout)).toBe(withoutTtl(text));
    expect(await command(env, ['store', 'export', (await admin.createUser()).id, '--url', admin.url])).toMatchObject({
      ...{ code: 0, stdout: '', stderr: '0 lines are exported.\n' },
    });
  });

  test('import: rejected lines, --replace, and a quota', async () => {
    const user = await admin.createUser();
    const path = await file(
      'entries.ndjson',
      '{"key":"a","value":1}',
      'nonsense',
      '{"key":"b"}',
      '{"key":"d","value":3}',
    );
    expect(await json(['store', 'import', user.username, path])).toMatchObject({ code: 3, written: 2, rejected: 2 });
    expect(await rejectedLines(path)).toEqual(['2,is not a JSON object', '3,value is required']);
    const other = await file(
      'other.ndjson',
      '{"key":"a","value":10}',
      '{"key":"e","value":5}',
      '{"key":"f","value":6}',
    );
    await admin.put(`/v1/users/${user.id}/quotas/store.entries`, { limit: 3 });
    const replaced = await json(['store', 'import', user.username, other, '--replace']);
    expect(replaced).toMatchObject({ code: 3, written: 2, rejected: 1 });
    expect(await rejectedLines(other)).toEqual(['3,The quota is used up.']);
    expect((await admin.as(user).get('/v1/store/a')).body).toBe(10);
    expect(await json(['store', 'import', uniqueName(), path])).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining('The server answered 404') },
    });
  });
});

describe('failures over the API', () => {
  test('a wrong token, an account that is no administrator, another program: one line, exit code 1', async () => {
    const user = await admin.createUser();
    const page = await answering((_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    );
    const missing = await answering((_request, response) => response.writeHead(404).end('Not found'));
    const path = await file('one.csv', 'username', uniqueName());
    const results = [
      await json(['users', 'export'], { variables: { QUARTERMASTER_TOKEN: 'nonsense' } }),
      await json(['users', 'export'], { variables: { QUARTERMASTER_TOKEN: user.accessToken } }),
      await json(['users', 'import', path], { url: page }),
      await json(['users', 'import', path], { url: missing }),
      await json(['audit', 'verify'], { url: 'http://127.0.0.1:1' }),
    ];
    expect(results.map(({ code }) => code)).toEqual([1, 1, 1, 1, 1]);
    expect(results.map(({ stderr }) => JSON.parse(stderr).error)).toEqual([
      expect.stringMatching(/^The server answered 401: /),
      expect.stringMatching(/^The server answered 403: /),
      'The answer to GET /v1/auth/policy is not JSON: Unexpected token \'<\', "<html>" is not valid JSON.',
      'Status 404 without a problem of Quartermaster.',
      'No answer from http://127.0.0.1:1: bad port.',
    ]);
    expect(await readdir(folder)).not.toContain('one.csv.progress');
  });

  test('usage export: the connection is lost in the middle: exit code 1, and no file', async () => {
    const url = await answering((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write('{"hour":"2026-11-21T08:00:00.000Z"}\n', () => setImmediate(() => response.destroy()));
    });
    const path = join(folder, 'usage.ndjson');
    expect(await json(['usage', 'export', path], { url })).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining('The connection to the server was lost') },
    });
    expect((await readdir(folder)).filter((name) => name.startsWith('usage'))).toEqual([]);
  });
});
