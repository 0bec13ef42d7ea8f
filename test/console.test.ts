import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { Api, expectProblem, sendExactly, type Answer } from './support/api.js';
import { TestServer } from './support/server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The Accept header of browsers. */
const BROWSER = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

const PAGE = `<!doctype html><title>Console</title><script type="module" src="/console/assets/app-B1c2.js"></script>`;

const SCRIPT = `console.log(${JSON.stringify('long enough to be compressed '.repeat(100))});\n`;

let folder: string;
const servers: TestServer[] = [];
/** A server with a console, and one without. */
let built: Api;
let bare: Api;

/** Copies the compiled server, which looks for the console beside itself. */
async function install(name: string, console?: Record<string, string | Buffer>): Promise<Api> {
  const to = join(folder, name);
  for (const each of ['dist', 'package.json']) await cp(join(ROOT, each), join(to, each), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(to, 'node_modules'));
  for (const [path, content] of Object.entries(console ?? {})) {
    const file = join(to, 'console', 'dist', path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, content);
  }
  const env = { DATABASE_URL: process.env.TEST_SERVER_DATABASE! };
  const server = await TestServer.spawn(env, undefined, join(to, 'dist/src/main.js'));
  servers.push(server);
  return new Api(server.url);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-console-'));
  [built, bare] = await Promise.all([
    install('built', {
      'index.html': PAGE,
      'favicon.svg': '<svg xmlns="http://www.w3.org/2000/svg"/>',
      'assets/app-B1c2.js': SCRIPT,
      'assets/app-B1c2.js.br': brotliCompressSync(SCRIPT),
      'assets/app-B1c2.js.gz': gzipSync(SCRIPT),
      'assets/app-D3e4.css': 'body { margin: 0 }',
      'assets/font-F5g6.woff2': Buffer.from([0, 1, 2, 255]),
    }),
    install('bare'),
  ]);
});

afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await rm(folder, { recursive: true, force: true });
});

function expectPage({ status, headers, text }: Answer): void {
  expect({ status, type: headers.get('content-type'), cache: headers.get('cache-control') }).toEqual({
    ...{ status: 200, type: 'text/html; charset=utf-8', cache: 'no-cache' },
  });
  expect(text).toBe(PAGE);
}

describe('GET /console', () => {
  test.each([
    '/console',
    '/console/',
    '/console?tab=1',
    '/console/users',
    '/console/users/ada%40example.com',
    '/console/a/b/c.d',
    '/console/index.html',
    '/console/assets',
    '/console/%3Cscript%3E',
  ])('%s: 200 with the page, for browsers and programs', async (path) => {
    for (const headers of [BROWSER, {}]) expectPage(await built.get(path, { headers }));
  });

  test('a strict policy: scripts and connections of this server only', async () => {
    const { headers } = await built.get('/console/users', { headers: BROWSER });
    expect(headers.get('content-security-policy')!.split('; ')).toEqual([
      ...["default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data:"],
      ...["font-src 'self'", "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"],
    ]);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
  });

  test('with the ETag of the page: 304 without a body', async () => {
    const etag = (await built.get('/console')).headers.get('etag')!;
    expect(etag).toMatch(/^W\/"[\w-]+"$/);
    const known = await built.get('/console/users', { headers: { 'if-none-match': etag } });
    expect({ status: known.status, text: known.text, etag: known.headers.get('etag') }).toEqual({
      ...{ status: 304, text: '', etag },
    });
    expectPage(await built.get('/console', { headers: { 'if-none-match': '"old"' } }));
  });

  test.each(['br', 'gzip'])('with Accept-Encoding: %s: compressed', async (coding) => {
    const answer = await built.get('/console', { headers: { 'accept-encoding': coding } });
    expect(answer.headers.get('content-encoding')).toBe(coding);
    expect(answer.headers.get('vary')).toMatch(/accept-encoding/i);
    expectPage(answer);
  });

  test('HEAD: the headers of GET, without a body', async () => {
    for (const path of ['/console', '/console/assets/app-B1c2.js']) {
      const [get, head] = [await built.get(path), await built.send('HEAD', path)];
      const shown = ({ status, headers }: Answer) => [
        status,
        ...['content-type', 'cache-control', 'etag', 'content-length'].map((name) => headers.get(name)),
      ];
      expect(shown(head)).toEqual(shown(get));
      expect(head.text).toBe('');
    }
  });

  test.each(['/console', '/console/', '/console/users', '/console/assets/app-B1c2.js'])(
    '%s with another method: 405 with Allow',
    async (path) => {
      for (const method of ['POST', 'PUT', 'DELETE']) {
        const answer = await built.send(method, path);
        expectProblem(answer, 405, 'method_not_allowed');
        expect(answer.headers.get('allow')).toBe('GET, HEAD');
      }
    },
  );

  test('a file outside assets: 200, to be revalidated', async () => {
    const { status, headers } = await built.get('/console/favicon.svg');
    expect({ status, type: headers.get('content-type'), cache: headers.get('cache-control') }).toEqual({
      ...{ status: 200, type: 'image/svg+xml', cache: 'no-cache' },
    });
    expect(headers.get('content-security-policy')).toMatch(/default-src 'none'/);
  });
});

describe('GET /console/assets', () => {
  test.each([
    ['app-B1c2.js', /javascript; charset=utf-8$/],
    ['app-D3e4.css', /^text\/css; charset=utf-8$/],
    ['font-F5g6.woff2', /^font\/woff2$/],
  ])('%s: 200, cached for a year', async (name, type) => {
    const { status, headers } = await built.get(`/console/assets/${name}`);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toMatch(type);
    expect(headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
    const etag = headers.get('etag')!;
    const known = await built.get(`/console/assets/${name}`, { headers: { 'if-none-match': etag } });
    expect({ status: known.status, text: known.text }).toEqual({ status: 304, text: '' });
  });

  test.each([
    ['br', 'br', brotliCompressSync(SCRIPT).length],
    ['gzip', 'gzip', gzipSync(SCRIPT).length],
    ['gzip, br', 'br', brotliCompressSync(SCRIPT).length],
    ['identity', null, SCRIPT.length],
  ])('with Accept-Encoding: %s: the file that was compressed by the build', async (accepted, coding, length) => {
    const answer = await built.get('/console/assets/app-B1c2.js', { headers: { 'accept-encoding': accepted } });
    expect(answer.headers.get('content-encoding')).toBe(coding);
    expect(answer.headers.get('content-length')).toBe(String(length));
    expect(answer.headers.get('content-type')).toMatch(/javascript/);
    expect(answer.headers.get('vary')).toMatch(/accept-encoding/i);
    expect(answer.text).toBe(SCRIPT);
  });

  test.each([
    '/console/assets/',
    '/console/assets/app-0000.js',
    '/console/assets/app-B1c2.js/',
    '/console/assets/app-B1c2.js.br',
    '/console/assets/../../../package.json',
    '/console/assets/..%2f..%2f..%2fpackage.json',
    '/console/assets/%2e%2e/%2e%2e/%2e%2e/package.json',
    '/console/assets/..%5c..%5c..%5cpackage.json',
    '/console/assets//app-B1c2.js',
    '/console/assets/%00',
  ])('%s, which is no file: 404', async (path) => {
    const answer = await sendExactly(built, 'GET', path);
    expectProblem(answer, 404, 'not_found');
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test('a path that leaves the folder: the page, not the file', async () => {
    for (const path of ['/console/../package.json', '/console/%2e%2e/%2e%2e/package.json', '/console/..%2fdist']) {
      expectPage(await sendExactly(built, 'GET', path));
    }
  });
});

describe('GET /console without a built console', () => {
  test('a browser: 404 with a page that says how to build it', async () => {
    for (const path of ['/console', '/console/users']) {
      const answer = await bare.get(path, { headers: BROWSER });
      expect(answer.status).toBe(404);
      expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(answer.headers.get('content-security-policy')).toMatch(/^default-src 'none'/);
      expect(answer.headers.get('vary')).toMatch(/\baccept\b/);
      expect(answer.text).toContain('<code>npm run build</code>');
    }
  });

  test('a program: 404', async () => {
    const answer = await bare.get('/console');
    expectProblem(answer, 404, 'not_found');
    expect(answer.body.detail).toBe('The console is not built.');
    expectProblem(await bare.post('/console'), 405, 'method_not_allowed');
  });
});
