import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import type net from 'node:net';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { Api, expectProblem, sendExactly, type Answer } from './support/api.js';
import { answeringProcesses, childrenOf, isAlive } from './support/processes.js';
import {
  ADMIN_PASSWORD,
  SECRET_KEY,
  TestServer,
  createDatabase,
  inherited,
  query,
  type ServerProcess,
} from './support/server.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';
import { Wire } from './support/wire.js';

const MAIN = fileURLToPath(new URL('../dist/src/main.js', import.meta.url));

/** A delay in milliseconds that outlasts any test; a second signal ends such a server. */
const ENDLESS = '600000';

/** The key of the advisory lock that migrations take at a start. */
const MIGRATION_LOCK = 0x716d_6d69;

/** Statements of servers that wait for a lock. */
const WAITING = `SELECT FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'quartermaster'`;

/**
 * The outcome of a request on its own keep-alive connection: the status and the `Connection` header, or the error code.
 */
type Outcome = { status: number; connection: string | undefined } | string;

function attempt({ url }: Api, path: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const sent = get(url + path, { agent: false, headers: { connection: 'keep-alive' } }, (response) => {
      response.on('error', fail).resume();
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, connection: response.headers.connection });
      });
    });
    const fail = (error: NodeJS.ErrnoException): void => {
      resolve(error.code ?? error.message);
    };
    sent.on('error', fail);
  });
}

let database: Awaited<ReturnType<typeof createDatabase>>;

/** Servers of the running test, killed after it. */
const servers: ServerProcess[] = [];

async function startServer(env: Record<string, string>): Promise<ServerProcess> {
  const server = await TestServer.spawn({ DATABASE_URL: database.url, ...env });
  servers.push(server);
  return server;
}

beforeAll(async () => {
  database = await createDatabase();
});

afterEach(async () => {
  for (const { child, exited } of servers.splice(0)) {
    if (child.exitCode === null) child.kill('SIGKILL');
    await exited;
  }
});

afterAll(() => database.drop());

/** Waits until all `workers` processes report the shutdown: connections go to one worker after the other. */
function retired(api: Api, workers: number): Promise<void> {
  let inARow = 0;
  return until(async () => {
    const { status } = await sendExactly(api, 'GET', '/readyz');
    inARow = status === 503 ? inARow + 1 : 0;
    return inARow === 2 * workers;
  });
}

const closing = (status: number): Outcome => ({ status, connection: 'close' });

/** Sends a request. @returns the response and its connection */
async function ask(api: Api, agent: Agent): Promise<[IncomingMessage, net.Socket]> {
  const [response] = (await once(get(`${api.url}/livez`, { agent }), 'response')) as [IncomingMessage];
  const { socket } = response;
  await once(response.resume(), 'end');
  return [response, socket];
}

const { SERVERS } = sizesOf('shutdown');

describe.each(
  (
    [
      [1, 'the primary'],
      [2, 'all processes'],
      [2, 'the primary'],
    ] as const
  ).slice(0, SERVERS),
)('shutdown delay, WORKERS=%d (signal to %s)', (workers, told) => {
  let server: ServerProcess;
  let api: Api;
  let pids: number[];
  /** The outcome of /readyz before the signal. */
  let ready: Outcome;
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  let keptSocket: net.Socket;
  let holder: pg.Client;
  let pipelined: Wire;
  let upload: Wire;

  // Sends one signal to one server that has every kind of open request.
  beforeAll(async () => {
    server = await TestServer.spawn({
      ...{ DATABASE_URL: database.url, WORKERS: String(workers), SHUTDOWN_DELAY: ENDLESS },
    });
    api = new Api(server.url);
    const pid = server.child.pid ?? 0;
    pids = [pid, ...(await childrenOf(pid))];
    ready = await attempt(api, '/readyz');
    [, keptSocket] = await ask(api, kept);

    const user = await api.createUser();
    await api.as(user).post('/v1/resources', { value: 'x' });
    holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM gauges WHERE owner_id = $1 FOR UPDATE', [user.id]);
    const head = `Host: x\r\nAuthorization: Bearer ${user.accessToken}\r\n`;
    const create = `POST /v1/resources HTTP/1.1\r\n${head}Content-Type: application/json\r\nContent-Length: 13\r\n\r\n`;
    pipelined = new Wire(
      api.url,
      `${create}{"value":"y"}GET /livez HTTP/1.1\r\n${head}\r\nGET /v1/users/me HTTP/1.1\r\n${head}\r\n`,
    );
    await until(async () => (await query(database.url, WAITING)).length > 0);
    upload = new Wire(api.url, `${create}{"va`);
    // Connections are accepted in order, so a later response proves that the upload was accepted.
    await until(() => upload.isConnected);
    await sendExactly(api, 'GET', '/livez');

    for (const each of told === 'the primary' ? pids.slice(0, 1) : pids) process.kill(each, 'SIGINT');
    await retired(api, workers);
  });

  afterAll(async () => {
    server.child.kill('SIGKILL');
    await server.exited;
    kept.destroy();
  });

  test('new connections: served, with /readyz 503 and Connection: close', async () => {
    expect(ready).toEqual({ status: 200, connection: 'keep-alive' });
    for (let i = 0; i < 2 * workers; i++) {
      const refusal = await sendExactly(api, 'GET', '/readyz', { connection: 'keep-alive' });
      expectProblem(refusal, 503, 'overloaded');
      expect(refusal.body.detail).toBe('The server is shutting down.');
      expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(refusal.headers.get('connection')).toBe('close');
      expect(await attempt(api, '/livez')).toEqual(closing(200));
      expect(await attempt(api, '/v1/users/me')).toEqual(closing(401));
      expect(await attempt(api, '/v1/nowhere')).toEqual(closing(404));
      expect(await attempt(api, '/openapi.json')).toEqual(closing(200));
      expect(await attempt(api, '/v1/store/%ff')).toEqual(closing(400));
    }
  });

  test('request on a kept connection: answered, then the connection is closed', async () => {
    const [after, sameSocket] = await ask(api, kept);
    expect(after.headers.connection).toBe('close');
    expect(sameSocket).toBe(keptSocket);
  });

  test('pipelined requests: all answered, and the connection is closed after the last', async () => {
    await holder.query('ROLLBACK');
    await holder.end();
    await pipelined.over;
    const { end, statuses, text } = pipelined;
    expect({ end, statuses }).toEqual({ end: 'closed', statuses: [201, 200, 200] });
    const headers = [...text.matchAll(/^connection: (.*)\r$/gim)].map(([, value]) => value);
    expect(headers).toEqual(['keep-alive', 'keep-alive', 'close']);
  });

  test('slow upload: accepted and answered', async () => {
    upload.say('lue":');
    await sendExactly(api, 'GET', '/livez');
    upload.say('"y"}');
    await upload.over;
    expect({ end: upload.end, statuses: upload.statuses }).toEqual({ end: 'closed', statuses: [201] });
    expect(upload.text).toMatch(/^connection: close\r$/im);
  });

  test('second signal: exits at once', async () => {
    // Signals within the first second count as one.
    await until(() => !server.child.kill('SIGTERM') || server.child.exitCode !== null);
    expect(await server.exited).toBe(1);
    expect(server.output).not.toContain('Quartermaster stopped');
    await until(() => !pids.some(isAlive));
  });
});

describe.each([1, 2])('shutdown, WORKERS=%d', (workers) => {
  let server: ServerProcess;
  let api: Api;
  let pids: number[];

  async function start(SHUTDOWN_DELAY: string): Promise<void> {
    server = await startServer({ WORKERS: String(workers), SHUTDOWN_DELAY });
    api = new Api(server.url);
    const pid = server.child.pid ?? 0;
    pids = [pid, ...(await childrenOf(pid))];
  }

  test('loses no request on new connections, and closes idle connections at the end of the delay', async () => {
    await start('3000');
    const idle = new Agent({ keepAlive: true, maxSockets: 1 });
    const [, idleSocket] = await ask(api, idle);
    const idleClosed = once(idleSocket, 'close');
    const outcomes: Outcome[] = [];
    const state = { isReady: true };
    const clients = Array.from({ length: 40 }, async () => {
      while (state.isReady) outcomes.push(await attempt(api, '/.well-known/jwks.json'));
    });
    await until(() => outcomes.length > 200);
    server.child.kill('SIGTERM');
    const ready: Outcome[] = [];
    while (state.isReady) {
      const outcome = await attempt(api, '/readyz');
      ready.push(outcome);
      state.isReady = typeof outcome === 'object' && outcome.status === 200;
    }
    expect(idleSocket.destroyed).toBe(false);
    await Promise.all(clients);
    expect(ready.at(-1)).toEqual(closing(503));
    expect(outcomes.filter((outcome) => typeof outcome === 'string' || outcome.status !== 200)).toEqual([]);
    await idleClosed;
    expect(await server.exited).toBe(0);
    expect(server.output.match(/Quartermaster stopped/g)).toHaveLength(1);
    expect(await attempt(api, '/livez')).toBe('ECONNREFUSED');
    await until(() => !pids.some(isAlive));
  });

  test('no delay: answers requests that the kernel accepted before the signal is handled', async () => {
    await start('0');
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const wires = Array.from({ length: 60 }, () => new Wire(api.url, 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'));
    await until(() => wires.every(({ isConnected }) => isConnected));
    for (const pid of pids) process.kill(pid, 'SIGTERM');
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    const ends = await Promise.all(wires.map(({ over }) => over));
    expect(ends.map(({ end, statuses }) => ({ end, statuses }))).toEqual(
      Array(60).fill({ end: 'closed', statuses: [200] }),
    );
    expect(await server.exited).toBe(0);
  });
});

describe('shutdown of workers', () => {
  let server: ServerProcess;
  let api: Api;
  let primary: number;

  beforeAll(async () => {
    server = await TestServer.spawn({
      ...{ DATABASE_URL: database.url, WORKERS: '2', SHUTDOWN_DELAY: '4000', LOG_LEVEL: 'debug' },
    });
    api = new Api(server.url);
    primary = server.child.pid ?? 0;
  });

  afterAll(() => server.kill());

  test('SIGTERM to one worker: exits cleanly and is replaced', async () => {
    const [told = 0, other] = await childrenOf(primary);
    process.kill(told, 'SIGTERM');
    const answers: Answer[] = [];
    await until(async () => {
      answers.push(await sendExactly(api, 'GET', '/readyz'));
      const workers = await childrenOf(primary);
      return workers.length === 2 && !workers.includes(told);
    });
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await childrenOf(primary)).toContain(other);
    expect(server.output).toMatch(new RegExp(`^Worker ${told} died \\(code 0,`, 'm'));
    // The next test needs both workers.
    await until(async () => (await answeringProcesses(server)).length === 2);
  });

  test('worker killed during the delay: the other one serves, and the server exits with 0', async () => {
    const [victim = 0] = await childrenOf(primary);
    server.child.kill('SIGTERM');
    await until(async () => (await sendExactly(api, 'GET', '/readyz')).status === 503);
    process.kill(victim, 'SIGKILL');
    await until(async () => !(await childrenOf(primary)).includes(victim));
    expect((await sendExactly(api, 'GET', '/livez')).status).toBe(200);
    expect(await server.exited).toBe(0);
  });
});

test.each(['1', '2'])(
  'signal during the start, WORKERS=%s: exits without a delay and leaves no process',
  async (WORKERS) => {
    // Holds the migration lock, so that the start waits as for the migrations of another process.
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const child = spawn(process.execPath, [MAIN], {
      env: {
        ...{ ...inherited(), PORT: '0', LOG_LEVEL: 'warn', ADMIN_PASSWORD, SECRET_KEY },
        ...{ DATABASE_URL: database.url, WORKERS, SHUTDOWN_DELAY: ENDLESS },
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    try {
      // The pipe closes when no process holds it, so the workers have exited as well.
      const closed = once(child, 'close');
      await until(async () => (await query(database.url, WAITING)).length > 0);
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGTERM'] as const) child.kill(signal);
      await holder.end();
      expect(await closed).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
    expect(errors).toBe('');
  },
);
