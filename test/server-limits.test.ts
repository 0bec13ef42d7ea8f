import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Api, sharedApi, type Account, type Answer } from './support/api.js';
import { OtherServer } from './support/other-server.js';
import { ADMIN_PASSWORD, FULL_HASHES, TestServer, createDatabase, type ServerProcess } from './support/server.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';
import { Wire } from './support/wire.js';

type Database = Awaited<ReturnType<typeof createDatabase>>;

const { SIGN_INS, GREEDY, PIPELINED, SLOW, WORKERS, IDLE } = sizesOf('serverLimits');

const JSON_TYPE = 'Content-Type: application/json\r\n';
const LOGIN = `POST /v1/auth/login HTTP/1.1\r\nHost: x\r\n${JSON_TYPE}`;
const LIVEZ = 'GET /livez HTTP/1.1\r\nHost: x\r\n';

/** Settings for many connections: no timeout ends one while the test opens the others. */
const PATIENT = { MAX_CONNECTIONS: '12000', HEADERS_TIMEOUT: '3600000', REQUEST_TIMEOUT: '3600000' };

/** Returns the resident memory of a process in MiB. */
async function memoryOf({ child }: ServerProcess): Promise<number> {
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${String(child.pid)}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1_024;
  }
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(child.pid)]);
  return Number(stdout) / 1_024;
}

/** Sends a request repeatedly while `work` runs, and once after it. @returns the status of each */
async function statusesDuring(ask: () => Promise<Answer>, work: () => Promise<unknown>): Promise<number[]> {
  const statuses: number[] = [];
  const state = { working: true };
  const done = work().finally(() => (state.working = false));
  while (state.working) {
    statuses.push((await ask()).status);
    await sleep(50);
  }
  await done;
  statuses.push((await ask()).status);
  return statuses;
}

/** Returns the body of the response on a closed connection. */
const bodyOf = ({ text }: Wire): any => JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));

describe('a request', () => {
  const api = sharedApi();

  /** Sends data, ends the sending side, and waits for the end of the connection. */
  const answerTo = (...says: (string | Buffer)[]): Promise<Wire> => new Wire(api.url, ...says).hangUp().over;

  test.each<[name: string, status: number, message: string | Buffer]>([
    ['whose line is longer than all headers may be', 431, `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['with a header of 20 kB', 431, `${LIVEZ}X: ${'a'.repeat(20_000)}\r\n\r\n`],
    ['with a header of a megabyte', 431, `${LIVEZ}X: ${'a'.repeat(1_000_000)}\r\n\r\n`],
    ['with 101 headers', 431, `${LIVEZ}${'a:\r\n'.repeat(100)}\r\n`],
    ['whose last of 3,000 headers is its Host', 431, `GET /livez HTTP/1.1\r\n${'a:\r\n'.repeat(3_000)}Host: x\r\n\r\n`],
    ['with 100 kB of trailers', 431, `${LOGIN}Transfer-Encoding: chunked\r\n\r\n0\r\n${'a: b\r\n'.repeat(17_000)}\r\n`],
    ['of HTTP/1.1 without a Host', 400, 'GET /livez HTTP/1.1\r\n\r\n'],
    ['with two Hosts', 400, `${LIVEZ}Host: y\r\n\r\n`],
    ['with the same Host twice', 400, `${LIVEZ}host: x\r\n\r\n`],
    ['whose Host is none', 400, 'GET /livez HTTP/1.1\r\nHost: a b"<>\r\n\r\n'],
    ['whose Host has a path', 400, 'GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n'],
    ['with two lengths', 400, `${LOGIN}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x`],
    ['with a list of lengths', 400, `${LOGIN}Content-Length: 2, 2\r\n\r\n{}`],
    ['with a negative length', 400, `${LOGIN}Content-Length: -1\r\n\r\n{}`],
    ['with a signed length', 400, `${LOGIN}Content-Length: +2\r\n\r\n{}`],
    ['with a length beyond 64 bits', 400, `${LOGIN}Content-Length: ${'9'.repeat(26)}\r\n\r\n{}`],
    ['with a length and chunks', 400, `${LOGIN}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['with chunks and a length', 400, `${LOGIN}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`],
    ['in an unknown coding', 400, `${LOGIN}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['in chunks that are compressed', 415, `${LOGIN}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['in chunks of chunks', 400, `${LOGIN}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`],
    ['compressed after chunks', 400, `${LOGIN}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`],
    ['in two codings', 400, `${LOGIN}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`],
    ['with a blank before a colon', 400, `${LOGIN}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
    ['with an invalid chunk size', 400, `${LOGIN}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n`],
    [
      'with a chunk beyond 64 bits',
      400,
      `${LOGIN}Transfer-Encoding: chunked\r\n\r\n${'F'.repeat(18)}\r\n{}\r\n0\r\n\r\n`,
    ],
    ['with chunks whose lines end early', 400, `${LOGIN}Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n`],
    [
      'with 50 kB beside a size',
      400,
      `${LOGIN}Transfer-Encoding: chunked\r\n\r\n2;${'x'.repeat(50_000)}\r\n{}\r\n0\r\n\r\n`,
    ],
    ['with NUL in its path', 400, 'GET /li\0vez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['with NUL in a header', 400, `${LIVEZ}A: b\0c\r\n\r\n`],
    ['with a bare CR in a header', 400, `${LIVEZ}A: b\rc\r\n\r\n`],
    ['with a folded header', 400, `${LIVEZ}A: b\r\n c\r\n\r\n`],
    ['with a blank in a name', 400, `${LIVEZ}A b: c\r\n\r\n`],
    ['whose lines end early', 400, 'GET /livez HTTP/1.1\nHost: x\n\n'],
    ['of HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['of TLS', 400, Buffer.from('16030100a5010000a10303', 'hex')],
    ['of 100 kB of nothing', 400, Buffer.alloc(100_000)],
    ['of an unknown method', 400, 'FOO /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])('%s: %d, and the connection is closed', async (_name, status, message) => {
    const wire = await answerTo(message, LIVEZ, '\r\n');
    expect(wire.statuses).toEqual([status]);
    expect(wire.text).toMatch(/content-type: application\/problem\+json/i);
    expect(wire.text).toMatch(/connection: close/i);
    expect(bodyOf(wire)).toMatchObject({ type: 'about:blank', title: expect.any(String), status });
  });

  test.each([
    ['for a tunnel', 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n', []],
    ['for a web socket', `${LIVEZ}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, [200]],
    [
      'for HTTP/2',
      `${LIVEZ}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n`,
      [200],
    ],
    ['of HTTP/1.0 without a Host', 'GET /livez HTTP/1.0\r\n\r\n', [200]],
    ['with an empty Host', 'GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n', [200]],
    ['with the Host of an address', 'GET /livez HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n', [200]],
    ['with 100 headers', `${LIVEZ}${'a:\r\n'.repeat(98)}Connection: close\r\n\r\n`, [200]],
    ['that expects to be told to go on', `${LIVEZ}Expect: 100-continue\r\nConnection: close\r\n\r\n`, [100, 200]],
    ['that expects anything else', `${LIVEZ}Expect: bananas\r\nConnection: close\r\n\r\n`, [417]],
  ])('%s: gets the supported response', async (_name, message, statuses) => {
    expect((await answerTo(message)).statuses).toEqual(statuses);
  });

  test('JSON of 100,000 levels: 400', async () => {
    const user = api.as(await api.createUser());
    for (const raw of ['['.repeat(100_000), '{"a":'.repeat(100_000)]) {
      for (const path of ['/v1/auth/login', '/v1/resources', '/v1/store/write', '/v1/store/read']) {
        const answer = await user.post(path, undefined, { raw });
        expect([path, answer.status]).toEqual([path, 400]);
      }
      expect((await user.put('/v1/store/deep', undefined, { raw })).status).toBe(400);
    }
  });

  test.each(['/v1/auth/login', '/v1/store/write', '/v1/verify'])('compressed body to %s: 415', async (path) => {
    const user = api.as(await api.createUser());
    for (const coding of ['gzip', 'br', 'deflate', 'zstd', 'gzip, gzip']) {
      const answer = await user.post(path, {}, { headers: { 'content-encoding': coding } });
      expect({ coding, status: answer.status }).toEqual({ coding, status: 415 });
    }
  });

  test('unreadable second request: the response to the first remains', async () => {
    const wire = await answerTo(`${LIVEZ}\r\n\x01\x02\r\n\r\n`);
    expect(wire.statuses).toEqual([200]);
    expect(wire.text).toContain('{"status":"ok"}');
  });

  test('pipelined: at most a hundred wait for responses on one connection', async () => {
    const user = await api.createUser();
    const ask = `GET /v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.accessToken}\r\n\r\n`;
    const few = new Wire(api.url, ask.repeat(50));
    await until(() => few.statuses.length === 50);
    expect(new Set(few.statuses)).toEqual(new Set([200]));
    few.destroy();
    const others = await statusesDuring(
      () => api.as(user).get('/v1/users/me'),
      async () => {
        // Thousands at once, in one piece.
        const many = await new Wire(api.url, `${LIVEZ}\r\n`.repeat(PIPELINED)).over;
        expect(many.statuses.filter((status) => status !== 200 && status !== 429)).toEqual([]);
        // Responses in transit are lost when the connection is reset.
        expect(many.statuses.length).toBeLessThan(PIPELINED);
        expect(many.statuses.indexOf(429)).toBe(many.statuses.includes(429) ? many.statuses.length - 1 : -1);
      },
    );
    expect(new Set(others)).toEqual(new Set([200]));
  });
});

describe('a server', () => {
  let database: Database;
  /** With short timeouts. */
  let impatient: ServerProcess;
  /** With a low limit of open files. */
  let small: ServerProcess;
  let large: ServerProcess;
  let user: Account;

  beforeAll(async () => {
    database = await createDatabase();
    const start = (env: Record<string, string>, openFiles?: number) =>
      TestServer.spawn({ DATABASE_URL: database.url, ...env }, openFiles);
    impatient = await start({ WORKERS: String(WORKERS), HEADERS_TIMEOUT: '2000', REQUEST_TIMEOUT: '3000' });
    [small, large] = await Promise.all([start({}, 1_024), start({ ...PATIENT, ...FULL_HASHES })]);
    user = await new Api(large.url).createUser();
  });

  afterAll(async () => {
    await Promise.all([impatient, small, large].map((server) => server.stop()));
    await database.drop();
  });

  const me = ({ url }: TestServer) => new Api(url).as(user).get('/v1/users/me');

  test('thousands of large responses not read by clients: bounded memory, and other clients are served', async () => {
    const writer = new Api(large.url).as(user);
    for (let i = 0; i < 20; i++) await writer.post('/v1/resources', { value: '€'.repeat(4_096) });
    await writer.get('/openapi.json');
    const before = await memoryOf(large);
    const asks = ['/openapi.json', '/metrics', '/docs/page.js', '/v1/resources?limit=100'].map(
      (path) => `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.accessToken}\r\n\r\n`,
    );
    const greedy = Array.from({ length: GREEDY }, (_, i) => {
      const socket = connect(Number(new URL(large.url).port), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(asks[i % asks.length]!.repeat(90));
      return socket.pause();
    });
    const statuses: number[] = [];
    let most = before;
    // Waits until memory has stopped growing for ten responses in a row.
    for (let looks = 0; looks < 10 || statuses.length < 20; looks++) {
      statuses.push((await me(large)).status);
      const now = await memoryOf(large);
      if (now > most) looks = 0;
      most = Math.max(most, now);
    }
    expect(new Set(statuses)).toEqual(new Set([200]));
    // All requested responses together would take over a gigabyte.
    expect(most - before).toBeLessThan(400);
    for (const socket of greedy) socket.destroy();
    expect((await me(large)).status).toBe(200);
  }, 180_000);

  describe('slow requests', () => {
    let upstream: OtherServer;
    /** Whether each received body was complete. */
    let bodies: boolean[];
    let call: string;

    beforeAll(async () => {
      bodies = [];
      upstream = await OtherServer.start((request, response) => {
        request.on('error', () => undefined).on('close', () => bodies.push(request.complete));
        request.resume().on('end', () => response.end('whole'));
      });
      const api = new Api(impatient.url);
      const slug = await api.createApi({ upstream: upstream.url });
      const { key } = await api.as(user).createKey();
      call = `POST /call/${slug} HTTP/1.1\r\nHost: x\r\nX-API-Key: ${key}\r\n`;
    });

    afterAll(() => upstream.stop());

    test('sent byte by byte: 408 after the timeout, and other clients are served', async () => {
      const { url } = impatient;
      const write = `POST /v1/store/write HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.accessToken}\r\n${JSON_TYPE}`;
      const length = 'Content-Length: 100000\r\n\r\n';
      const chunked = 'Transfer-Encoding: chunked\r\n\r\n';
      const slow = (): [wire: Wire, statuses: number[]][] => [
        [new Wire(url), [408]],
        [new Wire(url, LIVEZ).drip('a: b\r\n', 500), [408]],
        [new Wire(url, 'GET /').drip('a', 500), [408]],
        [new Wire(url, LOGIN + length).drip(' ', 500), [408]],
        [new Wire(url, LOGIN + chunked).drip('1\r\n \r\n', 500), [408]],
        [new Wire(url, write + length).drip(' ', 500), [408]],
        [new Wire(url, write + chunked).drip('1\r\n \r\n', 500), [408]],
        [new Wire(url, call + length).drip(' ', 500), [408]],
        [new Wire(url, call + chunked).drip('1\r\n \r\n', 500), [408]],
        // Answered before the body is complete: a second response would be taken for that to the next request.
        [new Wire(url, LIVEZ + length).drip(' ', 500), [200]],
        [new Wire(url, `POST /call/api1 HTTP/1.1\r\nHost: x\r\n${length}`).drip(' ', 500), [401]],
      ];
      const wires = Array.from({ length: SLOW }, slow).flat();
      const others = await statusesDuring(
        () => me(impatient),
        () => Promise.all(wires.map(([wire]) => wire.over)),
      );
      expect(new Set(others)).toEqual(new Set([200]));
      for (const [wire, statuses] of wires) expect(wire.statuses).toEqual(statuses);
      // The upstream never sees a partial body as complete.
      await until(() => bodies.length === 2 * SLOW);
      expect(new Set(bodies)).toEqual(new Set([false]));
    });

    test('data after a rejection: the connection is closed', async () => {
      const wire = await new Wire(impatient.url, `${LIVEZ}X: ${'a'.repeat(20_000)}\r\n`).drip('a: b\r\n', 100).over;
      expect(wire.statuses).toEqual([431]);
    });
  });

  test('file limit reached: rejects new connections and serves existing ones', async () => {
    const first = new Wire(small.url, `${LIVEZ}\r\n`);
    await until(() => first.statuses.length === 1);
    const wires = Array.from({ length: 1_300 }, () => new Wire(small.url));
    await until(() => wires.filter(({ end }) => end !== undefined).length >= 100);
    const refused = wires.filter(({ end }) => end !== undefined);
    expect(new Set(refused.map(({ end }) => end))).toEqual(new Set(['reset']));
    // The connection pool to the database still works.
    first.say(`GET /v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.accessToken}\r\n\r\n`);
    await until(() => first.statuses.length === 2);
    expect(first.statuses).toEqual([200, 200]);
    await until(() => small.output.includes('connections refused'));
    expect(small.output.match(/connections refused/g)).toHaveLength(1);
    for (const wire of [first, ...wires]) wire.destroy();
    // Closed connections make room for new ones.
    await until(async () => {
      const wire = new Wire(small.url, `${LIVEZ}Connection: close\r\n\r\n`);
      return (await wire.hangUp().over).statuses[0] === 200;
    });
    expect((await me(small)).status).toBe(200);
  });

  test('hundreds of concurrent sign-ins: bounded memory, and other clients are served', async () => {
    const before = await memoryOf(large);
    let peak = before;
    const answers: Answer[] = [];
    const others = await statusesDuring(
      () => me(large),
      async () => {
        const logins = Array.from({ length: SIGN_INS }, (_, i) =>
          // Known and unknown logins, right and wrong passwords.
          new Api(large.url)
            .post('/v1/auth/login', {
              login: i % 2 === 0 ? 'admin' : `nobody${i}`,
              password: i % 4 === 0 ? ADMIN_PASSWORD : 'Unguessable-8',
            })
            .then((answer) => answers.push(answer)),
        );
        await until(async () => {
          peak = Math.max(peak, await memoryOf(large));
          return answers.length === logins.length;
        }, Promise.all(logins));
      },
    );
    expect(new Set(others)).toEqual(new Set([200]));
    expect(answers).toHaveLength(SIGN_INS);
    expect(answers.filter(({ status }) => ![200, 401, 429, 503].includes(status))).toEqual([]);
    for (const { status, headers } of answers) {
      expect(headers.has('retry-after')).toBe(status === 429 || status === 503);
    }
    // Each running hash takes 19 MiB; a waiting one takes none.
    expect(peak - before).toBeLessThan(300);
  }, 180_000);

  test('thousands of idle connections and partial requests: other clients are served, and the server stops', async () => {
    const { stdout } = await promisify(execFile)('sh', ['-c', 'ulimit -n']);
    // Node raises its soft limit to the hard limit, and children inherit it.
    const files = stdout.trim() === 'unlimited' ? Infinity : Number(stdout);
    const count = Math.min(IDLE, Math.floor((files * 0.9 - 200) / 2));
    expect(count).toBeGreaterThan(200);
    const before = await memoryOf(large);
    const wires: Wire[] = [];
    const open = async (...says: string[]): Promise<void> => {
      for (let i = 0; i < count; i += 250) {
        const batch = Array.from({ length: Math.min(250, count - i) }, () => new Wire(large.url, ...says));
        wires.push(...batch);
        await until(() => batch.every(({ isConnected }) => isConnected));
      }
    };
    const others = await statusesDuring(
      () => me(large),
      async () => {
        await open();
        await open(`${LOGIN}Content-Length: 1000\r\n\r\n{"login":`);
        for (let i = 0; i < 20; i++) await me(large);
      },
    );
    expect(new Set(others)).toEqual(new Set([200]));
    expect(wires.filter(({ end }) => end === 'reset')).toEqual([]);
    // Each connection takes tens of kilobytes.
    expect((await memoryOf(large)) - before).toBeLessThan(64 + (2 * count * 40) / 1_024);
    expect(await large.stop()).toBe(0);
    for (const wire of wires) wire.destroy();
  }, 180_000);
});
