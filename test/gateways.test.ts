import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../scripts/free-port.js';
import { answerTo, type Answer } from './support/answer.js';
import { Fleet, tally, type Key } from './support/fleet.js';
import { headerOf, load, write, type Reply } from './support/load.js';
import { OtherServer } from './support/other-server.js';
import { TestServer, inherited, type ServerProcess } from './support/server.js';
import { until } from './support/until.js';

/** Runs the configurations of docs/gateways as they stand there, with other ports and folders. */
interface Gateway {
  /** The arguments with which its version is printed, to see whether it is installed. */
  version: string[];
  /** Writes its files, and returns its command. */
  prepare: (blocks: string[], at: Places) => Promise<string[]>;
  /** The status when Quartermaster does not answer. */
  away: number;
  /** `RateLimit` of a served request, if the gateway copies it. */
  shown?: RegExp;
  /** Whether a static site is served, not an upstream. */
  isStatic?: boolean;
}

interface Places {
  folder: string;
  port: string;
  quartermaster: string;
  upstream: string;
}

const SITE = 'served by the gateway';

const SHOWN = /^"day";r=4;t=\d+$/;

const GATEWAYS: Record<string, Gateway> = {
  nginx: {
    version: ['-v'],
    away: 503,
    shown: SHOWN,
    isStatic: true,
    prepare: async ([config = ''], at) => {
      const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
      const temporary = folders.map((name) => `${name}_temp_path ${join(at.folder, name)};`).join(' ');
      await mkdir(join(at.folder, 'site'));
      await chmod(join(at.folder, 'site'), 0o755);
      await writeFile(join(at.folder, 'site', 'index.html'), SITE);
      const changed = placed(config, at)
        .replace('http {', `http { access_log off; ${temporary}`)
        .replace('root /usr/share/nginx/html;', `root ${join(at.folder, 'site')};`);
      await writeFile(join(at.folder, 'nginx.conf'), changed);
      const directives = `daemon off; pid ${join(at.folder, 'nginx.pid')}; error_log stderr crit;`;
      return ['nginx', '-p', at.folder, '-c', join(at.folder, 'nginx.conf'), '-g', directives];
    },
  },
  haproxy: {
    version: ['-v'],
    away: 503,
    shown: SHOWN,
    prepare: async ([script = '', config = ''], at) => {
      await writeFile(join(at.folder, 'quartermaster.lua'), script);
      const changed = placed(config, at).replace(
        '/etc/haproxy/quartermaster.lua',
        join(at.folder, 'quartermaster.lua'),
      );
      await writeFile(join(at.folder, 'haproxy.cfg'), changed);
      return ['haproxy', '-db', '-f', join(at.folder, 'haproxy.cfg')];
    },
  },
  caddy: {
    version: ['version'],
    away: 502,
    prepare: async ([config = ''], at) => {
      await writeFile(join(at.folder, 'Caddyfile'), `{\n  admin off\n  auto_https off\n}\n${placed(config, at)}`);
      return ['caddy', 'run', '--adapter', 'caddyfile', '--config', join(at.folder, 'Caddyfile')];
    },
  },
};

function placed(config: string, { port, quartermaster, upstream }: Places): string {
  return config
    .replaceAll('127.0.0.1:3000', quartermaster)
    .replaceAll('127.0.0.1:9000', upstream)
    .replace(/(listen |bind |^):?8080/m, (_all, before: string) =>
      before === 'listen ' ? `listen 127.0.0.1:${port}` : before === 'bind ' ? `bind 127.0.0.1:${port}` : `:${port}`,
    );
}

/** Returns the code blocks of a page, in order. */
async function blocksOf(name: string): Promise<string[]> {
  const page = await readFile(fileURLToPath(new URL(`../docs/gateways/${name}.md`, import.meta.url)), 'utf8');
  return [...page.matchAll(/^```(?:nginx|lua|haproxy|caddyfile)\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
}

const OPERATIONS = fileURLToPath(new URL('../docs/operations.md', import.meta.url));

let fleet: Fleet<ServerProcess>;
let upstream: OtherServer;
/** Headers of the requests that reached the upstream. */
let seen: IncomingHttpHeaders[] = [];

beforeAll(async () => {
  // Gateways wait for a short time only, which work for other tests in the same process can exceed.
  fleet = await Fleet.spawn(1, undefined, { TRUST_PROXY: '127.0.0.1' });
  await fleet.setWindows({});
  upstream = await OtherServer.start((incoming, outgoing) => {
    seen.push(incoming.headers);
    incoming.resume().on('end', () => outgoing.end(SITE));
  });
});

afterAll(async () => {
  await upstream.stop();
  await fleet.stop();
});

/**
 * Starts a gateway in front of a server, runs `work` with its address, and stops it.
 * @param blocks its configuration; by default that of its page
 */
async function behind(
  name: string,
  server: { url: string },
  work: (url: string) => Promise<void>,
  blocks?: string[],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-'));
  // Started by root, nginx reads files as another user.
  await chmod(folder, 0o755);
  const port = String(await freePort());
  const at = {
    ...{ folder, port, quartermaster: new URL(server.url).host },
    upstream: new URL(upstream.url).host,
  };
  const [command = '', ...args] = await GATEWAYS[name]!.prepare(blocks ?? (await blocksOf(name)), at);
  const env = { ...inherited(), HOME: folder };
  const child: ChildProcess = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)));
  const exited = once(child, 'exit');
  try {
    const url = `http://127.0.0.1:${port}`;
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`${name} did not start:\n${output}`);
      return fetch(url).then(
        async (answer) => (await answer.text()) !== '',
        () => false,
      );
    });
    await work(url);
  } finally {
    child.kill('SIGTERM');
    await exited;
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param from the address of the client */
function get(url: string, headers: Record<string, string>, body?: string, from = '127.0.0.1'): Promise<Answer> {
  const length = body === undefined ? {} : { 'content-length': String(body.length) };
  const options = { method: 'GET', headers: { ...headers, ...length }, agent: false, localAddress: from };
  const sent = request(`${url}/`, options);
  sent.end(body);
  return answerTo(sent);
}

/** A key of a new owner with a limit of calls of api1. */
async function limitedKey(limit: number): Promise<Key> {
  const owner = await fleet.makeUser();
  await fleet.setQuota(owner, 'api:api1', limit, 'day');
  return fleet.makeKey(owner);
}

/** Outcomes of requests on 64 connections. */
async function rush(url: string, key: Key, count: number): Promise<Record<string, number>> {
  let left = count;
  const outcomes: string[] = [];
  await load([{ url }], 64, () => {
    if (left-- <= 0) return undefined;
    const heard = (reply: Reply): void => {
      outcomes.push(outcomeOf(reply));
    };
    return { text: write('GET', '/', { 'x-api-key': key.key }), heard };
  });
  return tally(outcomes);
}

function outcomeOf(reply: Reply): string {
  if (reply.status === 200) return reply.text.trim() === SITE ? 'served' : `other text: ${reply.text}`;
  const isProblem = headerOf(reply, 'content-type')?.startsWith('application/problem+json');
  const wait = Number(headerOf(reply, 'retry-after'));
  return `${String(reply.status)}${isProblem ? ` ${JSON.parse(reply.text).code}` : ''}${wait > 0 ? ' retry' : ''}`;
}

const describeNginx = spawnSync('nginx', ['-v']).status === 0 ? describe : describe.skip;

describeNginx('Quartermaster behind nginx, below a path', () => {
  test('the configuration of docs/operations.md: the path stays, the log has the address of the client, /metrics is 404', async () => {
    const [, location = ''] = /^```nginx\n([\s\S]*?)^```$/m.exec(await readFile(OPERATIONS, 'utf8')) ?? [];
    const config = `events {} http { server { listen 8080; ${location} } }`;
    const server = await TestServer.start({ DATABASE_URL: fleet.url, BASE_PATH: '/qm', TRUST_PROXY: '127.0.0.1' });
    try {
      await behind(
        'nginx',
        server,
        async (url) => {
          const sent = request(`${url}/qm/v1/auth/login`, {
            ...{
              method: 'POST',
              headers: { 'content-type': 'application/json' },
              agent: false,
              localAddress: '127.0.0.3',
            },
          });
          sent.end('{"login":"nobody","password":"Unguessable-7"}');
          const { status, headers, body } = await answerTo(sent);
          expect({ status, code: body.code }).toEqual({ status: 401, code: 'invalid_credentials' });
          const line = new RegExp(`"reqId":"${headers.get('x-request-id')}".*"ip":"127\\.0\\.0\\.3"`);
          await until(() => line.test(server.output));
          expect((await fetch(`${url}/qm/metrics`)).status).toBe(404);
          expect((await fetch(`${server.url}/qm/metrics`)).status).toBe(200);
        },
        [config],
      );
    } finally {
      await server.stop();
    }
  });
});

const installed = Object.keys(GATEWAYS).filter((name) => spawnSync(name, GATEWAYS[name]!.version).status === 0);

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  const [suite, title] = installed.includes(name) ? [describe, name] : [describe.skip, `${name} is not installed`];
  suite(title, () => {
    test('1,000 requests on 64 connections against a limit of 100: exactly 100 are served', async () => {
      await behind(name, fleet.servers[0]!, async (url) => {
        const key = await limitedKey(100);
        expect(await rush(url, key, 1_000)).toEqual({ served: 100, '429 quota_exceeded retry': 900 });
        expect(await fleet.ledger(key.owner)).toEqual({ granted: 100, denied: 900 });
      });
    });

    test('the caller gets each refusal with its status, and a served request its RateLimit', async () => {
      await behind(name, fleet.servers[0]!, async (url) => {
        const key = await limitedKey(5);
        const narrow = await fleet.makeKey(key.owner, { scopes: ['api2'] });
        const forged = { 'x-quartermaster-owner': 'forged', 'x-quartermaster-key': 'forged' };
        seen = [];
        const served = await get(url, { authorization: `Bearer ${key.key}`, ...forged });
        expect([served.status, served.text.trim()]).toEqual([200, SITE]);
        expect(served.headers.get('ratelimit') ?? '').toMatch(gateway.shown ?? /^$/);
        const told = seen.map((each) => [each['x-quartermaster-owner'], each['x-quartermaster-key']]);
        expect(told).toEqual(gateway.isStatic ? [] : [[key.owner, key.id]]);
        // A body is not for Quartermaster, and the connection to it stays usable.
        expect((await get(url, { 'x-api-key': key.key }, 'a body')).status).toBe(200);
        // A client cannot make its request a repetition, or name another API.
        for (let i = 0; i < 2; i++) {
          const headers = { 'x-api-key': key.key, 'idempotency-key': 'same', 'x-quartermaster-api': 'api2' };
          expect((await get(url, headers)).status).toBe(200);
        }
        expect(await fleet.counter(key.owner, 'api:api1', 'day')).toBe(4);
        for (const [headers, status, code] of [
          [{}, 401, 'unauthenticated'],
          [{ 'x-api-key': `${key.key}0` }, 401, 'invalid_api_key'],
          [{ 'x-api-key': narrow.key }, 403, 'scope_denied'],
        ] as const) {
          const answer = await get(url, headers);
          expect([answer.status, answer.headers.get('content-type')?.split(';')[0], answer.body.code]).toEqual([
            status,
            'application/problem+json',
            code,
          ]);
          const challenge = answer.headers.get('www-authenticate') ?? '';
          expect(challenge.match(/Bearer/g)).toEqual(status === 401 ? ['Bearer'] : null);
          expect(answer.text).not.toContain(SITE);
        }
      });
    });

    test('a refusal has a request id, which the log has too, with the address of the client', async () => {
      const [server] = fleet.servers;
      await behind(name, server!, async (url) => {
        const { status, headers, body } = await get(url, {}, undefined, '127.0.0.2');
        expect({ status, requestId: body.requestId }).toEqual({ status: 401, requestId: expect.stringMatching(/./) });
        expect(headers.get('x-request-id')).toBe(body.requestId);
        const line = new RegExp(`"reqId":"${body.requestId}".*"ip":"127\\.0\\.0\\.2"`);
        await until(() => line.test(server!.output));
      });
    });
  });
}

/** Starts several gateways in front of one server. */
function behindAll(
  names: string[],
  server: { url: string },
  work: (urls: string[]) => Promise<void>,
  urls: string[] = [],
): Promise<void> {
  const [name, ...others] = names;
  if (name === undefined) return work(urls);
  return behind(name, server, (url) => behindAll(others, server, work, [...urls, url]));
}

const suite = installed.length > 0 ? describe : describe.skip;

suite('All gateways', () => {
  test('Quartermaster killed under them: nothing is served', async () => {
    const own = await Fleet.spawn(1, fleet.url);
    const key = await limitedKey(100_000);
    await behindAll(installed, own.servers[0]!, async (urls) => {
      for (const url of urls) expect((await get(url, { 'x-api-key': key.key })).status).toBe(200);
      const before = urls.map(() => 0);
      const after: string[][] = urls.map(() => []);
      let killing: Promise<void> | undefined;
      let isDead = false;
      await load(
        urls.map((url) => ({ url })),
        16,
        (gateway) => {
          if (after[gateway]!.length >= 100) return undefined;
          const isAfter = isDead;
          const heard = (reply: Reply): void => {
            if (isAfter) after[gateway]!.push(outcomeOf(reply));
            else before[gateway]!++;
            if (before.every((count) => count >= 100))
              killing ??= own.servers[0]!.kill().then(() => void (isDead = true));
          };
          return { text: write('GET', '/', { 'x-api-key': key.key }), heard };
        },
      );
      for (const [i, name] of installed.entries()) {
        expect(after[i]!.filter((each) => each === 'served')).toEqual([]);
        // 0: nginx closes a connection after an error, and the next request on it is lost.
        const statuses = Object.keys(await rush(urls[i]!, key, 128)).map((each) => each.slice(0, 3).trim());
        expect([name, ...statuses.filter((each) => each !== '0')]).toEqual([name, String(GATEWAYS[name]!.away)]);
      }
    });
    await own.stop();
  });
});
