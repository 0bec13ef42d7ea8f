import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { Api, sendExactly } from './support/api.js';
import { inLanes } from './support/lanes.js';
import { answeringProcesses, childrenOf, isAlive } from './support/processes.js';
import { TestServer, createDatabase, query, type ServerProcess } from './support/server.js';
import { until } from './support/until.js';

type Database = Awaited<ReturnType<typeof createDatabase>>;

/** The outcome of one request: the complete response, or the error and the status received before it. */
interface Outcome {
  status: number;
  /** Whether all announced bytes arrived. */
  whole: boolean;
  error?: string;
}

function attempt(agent: Agent, api: Api, method: string, path: string, body?: unknown): Promise<Outcome> {
  return new Promise((resolve) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const sent = request(api.url + path, {
      agent,
      method,
      headers: {
        ...(api.token === undefined ? {} : { authorization: `Bearer ${api.token}` }),
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
      },
    });
    let status = 0;
    const fail = (error: NodeJS.ErrnoException): void => {
      resolve({ status, whole: false, error: error.code ?? error.message });
    };
    sent.on('error', fail);
    sent.on('response', (response) => {
      status = response.statusCode ?? 0;
      let bytes = 0;
      response.on('data', (chunk: Buffer) => (bytes += chunk.length));
      response.on('error', fail);
      response.on('end', () => {
        const announced = response.headers['content-length'];
        resolve({ status, whole: response.complete && (announced === undefined || bytes === Number(announced)) });
      });
    });
    sent.end(text);
  });
}

describe.each([1, 2])('a server with WORKERS=%d', (workers) => {
  let database: Database;
  let server: ServerProcess;
  let primary: number;
  let api: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.spawn({ DATABASE_URL: database.url, WORKERS: String(workers), LOG_LEVEL: 'debug' });
    primary = server.child.pid ?? 0;
    api = await new Api(server.url).admin();
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  if (workers > 1) {
    test('a killed worker is replaced while requests go on', async () => {
      const whoAnswers = (): Promise<number[]> => answeringProcesses(server);
      const before = (await childrenOf(primary)).sort((a, b) => a - b);
      expect(before).toHaveLength(2);
      expect(await whoAnswers()).toEqual(before);

      const [victim, survivor] = before as [number, number];
      process.kill(victim, 'SIGKILL');
      await until(async () => !(await childrenOf(primary)).includes(victim));
      expect(await whoAnswers()).toContain(survivor);
      await until(async () => (await childrenOf(primary)).length === 2 && (await whoAnswers()).length === 2);
      const now = (await childrenOf(primary)).sort((a, b) => a - b);
      expect(now).toContain(survivor);
      expect(await whoAnswers()).toEqual(now);
      expect(server.output).toMatch(new RegExp(`^Worker ${String(victim)} died .*SIGKILL`, 'm'));
    });
  }

  describe('after SIGTERM', () => {
    /** Outcomes of the load, and of the sign-ins in progress. */
    const outcomes: Outcome[] = [];
    const signIns: Outcome[] = [];
    let created = 0;
    let exitCode: number | null;
    let pids: number[];

    // Sends one signal to one server that is under load and has sign-ins in progress.
    beforeAll(async () => {
      pids = [primary, ...(await childrenOf(primary))];
      const agent = new Agent({ keepAlive: true, maxSockets: 40 });
      const signingIn = new Agent({ keepAlive: true, maxSockets: 20 });
      // Large enough that a response is sent in several pieces.
      const value = 'x'.repeat(4_096);
      await inLanes(60, 20, () => attempt(agent, api, 'POST', '/v1/resources', { value }));
      const client = async (i: number): Promise<void> => {
        for (let refused = 0; refused < 3;) {
          const outcome = await (i % 3 === 0
            ? attempt(agent, api, 'GET', '/v1/resources?limit=100')
            : attempt(agent, api, 'POST', '/v1/resources', { value }));
          outcomes.push(outcome);
          if (outcome.status === 201) created++;
          if (outcome.error !== undefined) refused++;
        }
      };
      const clients = Array.from({ length: 40 }, (_, i) => client(i));
      await until(() => outcomes.length > 100);
      const body = { login: 'admin', password: 'Quarter-Master-1' };
      const answers = Array.from({ length: 20 }, async () => {
        signIns.push(await attempt(signingIn, new Api(server.url), 'POST', '/v1/auth/login', body));
      });
      // The server closes connections that are not accepted or have sent nothing yet. So this waits until all sign-ins
      // are sent; connections are accepted in order, so the response to a later request proves that they were read.
      const areSent = (): boolean => {
        const sockets = Object.values(signingIn.sockets).flatMap((some) => some ?? []);
        return signIns.length + sockets.filter(({ bytesWritten }) => bytesWritten > 0).length >= 20;
      };
      await until(areSent);
      const port = Number(new URL(server.url).port);
      const silent = Array.from({ length: 20 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
      await Promise.all(silent.map((socket) => once(socket, 'connect')));
      await sendExactly(new Api(server.url), 'GET', '/livez');
      server.child.kill('SIGTERM');
      await Promise.all([...clients, ...answers]);
      // The agent keeps the connections of the sign-ins open.
      exitCode = await server.exited;
      for (const each of silent) each.destroy();
      for (const each of [agent, signingIn]) each.destroy();
    });

    test('answers every accepted request completely, under load, and leaves no process', async () => {
      expect(pids.length).toBe(workers === 1 ? 1 : 1 + workers);
      expect(exitCode).toBe(0);
      await until(() => !pids.some(isAlive));
      const answered = outcomes.filter((outcome) => outcome.error === undefined);
      expect(answered.filter(({ status, whole }) => !whole || ![200, 201].includes(status))).toEqual([]);
      // A request without a response was never started: no byte of a response, and no row without its 201.
      expect(outcomes.filter((outcome) => outcome.error !== undefined && outcome.status !== 0)).toEqual([]);
      const [{ rows }] = await query(database.url, 'SELECT count(*)::int AS rows FROM resources');
      expect(rows).toBe(created + 60);
    });

    test('finishes sign-ins in progress, then exits despite open keep-alive and silent connections', () => {
      expect(signIns).toEqual(Array(20).fill({ status: 200, whole: true }));
      expect(exitCode).toBe(0);
    });
  });
});
