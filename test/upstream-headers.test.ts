import type { IncomingMessage, ServerResponse } from 'node:http';
import { Api, sendExactly, sharedApi, type Answer } from './support/api.js';
import { OtherServer } from './support/other-server.js';
import { TestServer } from './support/server.js';

const shared = sharedApi();

/** Trusts no proxy. */
let direct: TestServer;
/** Trusts proxies on this machine and in 10.0.0.0/8. */
let behind: TestServer;
let upstream: OtherServer;
let origin: string;
let key: string;
/** Slugs of two APIs: the upstream of the first has a base path. */
let based: string;
let bare: string;
let seen: IncomingMessage[];
let answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void;

beforeAll(async () => {
  const database = { DATABASE_URL: process.env.TEST_SERVER_DATABASE! };
  [direct, behind] = await Promise.all([
    TestServer.start(database),
    TestServer.start({ ...database, TRUST_PROXY: 'loopback, 10.0.0.0/8' }),
  ]);
  upstream = await OtherServer.start((incoming, outgoing) => {
    seen.push(incoming);
    incoming.resume().on('end', () => {
      answer(incoming, outgoing);
    });
  });
  origin = upstream.url;
  ({ key } = await shared.as(await shared.createUser()).createKey());
  [based, bare] = await Promise.all([
    shared.createApi({ upstream: `${origin}/base` }),
    shared.createApi({ upstream: origin }),
  ]);
});

beforeEach(() => {
  seen = [];
  answer = (_incoming, outgoing) => outgoing.end('from afar');
});

afterAll(async () => {
  await Promise.all([direct.stop(), behind.stop()]);
  await upstream.stop();
});

function call(at: { url: string }, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return sendExactly(new Api(at.url), 'GET', path, { 'x-api-key': key, ...headers });
}

const FORGED = {
  'x-forwarded-for': '203.0.113.9',
  'x-forwarded-proto': 'gopher',
  'x-forwarded-host': 'forged.example',
  'x-forwarded-port': '1',
  'x-forwarded-prefix': '/forged',
  x_forwarded_for: '203.0.113.9',
  forwarded: 'for=203.0.113.9;host=forged.example',
  'x-real-ip': '203.0.113.9',
};

describe('/call: headers of the upstream request', () => {
  test('TRUST_PROXY unset: the connection address, and no forwarding header of the client', async () => {
    const sent = { ...FORGED, 'x-request-id': 'mine', 'x-other': 'kept' };
    expect((await call(direct, `/call/${based}/a`, sent)).status).toBe(200);
    const [{ headers }] = seen as [IncomingMessage];
    expect(headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': new URL(direct.url).host,
      'x-request-id': 'mine',
      'x-other': 'kept',
      host: new URL(origin).host,
    });
    expect(JSON.stringify(headers)).not.toMatch(/203\.0\.113\.9|forged|gopher/);
  });

  test('X-Request-Id not sent: the id of the response', async () => {
    const answered = await call(direct, `/call/${based}`);
    expect(seen[0]!.headers['x-request-id']).toBe(answered.headers.get('x-request-id'));
  });

  test.each([
    ['203.0.113.9', '203.0.113.9, 127.0.0.1'],
    ['203.0.113.9:51234', '203.0.113.9, 127.0.0.1'],
    ['198.51.100.1, 203.0.113.9, 10.0.0.2', '203.0.113.9, 10.0.0.2, 127.0.0.1'],
    ['203.0.113.9:1, 10.0.0.2:3333', '203.0.113.9, 10.0.0.2, 127.0.0.1'],
    ['[2001:db8::7]:443', '2001:db8::7, 127.0.0.1'],
    ['garbage, 10.0.0.2', '10.0.0.2, 127.0.0.1'],
    ['unknown', '127.0.0.1'],
  ])('trusted proxies, X-Forwarded-For: %s: forwards %s', async (sent, chain) => {
    const forwarded = { 'x-forwarded-for': sent, 'x-forwarded-proto': 'https', 'x-forwarded-host': 'api.example' };
    expect((await call(behind, `/call/${based}`, forwarded)).status).toBe(200);
    expect(seen[0]!.headers).toMatchObject({ ...forwarded, 'x-forwarded-for': chain });
  });

  test('invalid X-Forwarded-Host or X-Forwarded-Proto of a trusted proxy: not forwarded', async () => {
    const garbage = { 'x-forwarded-proto': 'javascript', 'x-forwarded-host': 'evil<script>' };
    expect((await call(behind, `/call/${based}`, garbage)).status).toBe(200);
    const { headers } = seen[0]!;
    expect([headers['x-forwarded-proto'], headers['x-forwarded-host']]).toEqual(['http', undefined]);
  });

  test('hop-by-hop headers, and those named by Connection: not forwarded', async () => {
    const hops = {
      ...{
        connection: 'close, X-Session-Hop , x-request-id,x-quartermaster-key,X-Forwarded-For',
        'x-session-hop': '1',
      },
      ...{ 'keep-alive': 'timeout=5', 'proxy-connection': 'keep-alive', te: 'trailers', upgrade: 'h2c' },
      ...{ 'proxy-authorization': 'Basic eDp5', 'http2-settings': 'AAMAAABkAAQAAP__', 'x-other': 'kept' },
    };
    expect((await call(direct, `/call/${based}`, hops)).status).toBe(200);
    const { headers } = seen[0]!;
    expect(Object.keys(headers).filter((name) => /hop|^keep|proxy|^te$|upgrade|http2/.test(name))).toEqual([]);
    // A client cannot remove headers that this server sets.
    expect(headers).toMatchObject({
      'x-other': 'kept',
      'x-forwarded-for': '127.0.0.1',
      'x-request-id': expect.any(String),
      'x-quartermaster-key': expect.any(String),
    });
  });
});

describe('/call: headers of the response', () => {
  test('hop-by-hop headers, and those named by Connection: not returned', async () => {
    answer = (_incoming, outgoing) => {
      outgoing.writeHead(200, {
        ...{ connection: 'keep-alive, X-Hop', 'keep-alive': 'timeout=1, max=1', 'x-hop': '1', 'x-own': 'kept' },
        ...{ 'proxy-authenticate': 'Basic', 'proxy-connection': 'keep-alive', trailer: 'x-sum', upgrade: 'h2c' },
        ...{ 'transfer-encoding': 'chunked', etag: '"theirs"', 'cache-control': 'max-age=60' },
      });
      outgoing.end('in parts');
    };
    const [passedOn, own] = [await call(direct, `/call/${based}`), await call(direct, '/call/api1')];
    expect(passedOn).toMatchObject({ status: 200, text: 'in parts' });
    for (const name of ['x-hop', 'proxy-authenticate', 'proxy-connection', 'trailer', 'upgrade']) {
      expect([name, passedOn.headers.get(name)]).toEqual([name, null]);
    }
    for (const name of ['connection', 'keep-alive']) {
      expect([name, passedOn.headers.get(name)]).toEqual([name, own.headers.get(name)]);
    }
    expect(passedOn.headers.get('x-own')).toBe('kept');
    expect(passedOn.headers.get('etag')).toBe('"theirs"');
    expect(passedOn.headers.get('cache-control')).toBe('max-age=60');
  });

  test('upstream sends Connection: close: the connection of the client stays open', async () => {
    answer = (_incoming, outgoing) => {
      outgoing.setHeader('connection', ['close', 'X-Hop']);
      outgoing.setHeader('x-hop', '1');
      outgoing.end();
    };
    const passedOn = await fetch(`${direct.url}/call/${based}`, { headers: { 'x-api-key': key } });
    expect(passedOn.headers.get('connection')).toBe('keep-alive');
    expect(passedOn.headers.get('x-hop')).toBeNull();
  });

  /**
   * Location of an upstream response to `/a/b?q`. BASED and BARE stand for the slugs, UP for the upstream origin, HERE
   * for the origin of this server.
   */
  test.each([
    ['BASED', '/base/x', '/call/BASED/x'],
    ['BASED', '/base/x?q=1&r=%2F#part', '/call/BASED/x?q=1&r=%2F#part'],
    ['BASED', '/base', '/call/BASED'],
    ['BASED', '/base/', '/call/BASED/'],
    ['BASED', 'UP/base/x', '/call/BASED/x'],
    ['BASED', '//UPHOST/base/x', '/call/BASED/x'],
    ['BASED', 'x', '/call/BASED/a/x'],
    ['BASED', './x', '/call/BASED/a/x'],
    ['BASED', '../x', '/call/BASED/x'],
    ['BASED', '?page=2', '/call/BASED/a/b?page=2'],
    ['BASED', 'HERE/base/x', '/call/BASED/x'],
    ['BASED', 'HERE/call/BASED/x', 'HERE/call/BASED/x'],
    // Outside the base path.
    ['BASED', '/elsewhere', '/elsewhere'],
    ['BASED', '/basement/x', '/basement/x'],
    ['BASED', '/base/../x', '/base/../x'],
    ['BASED', '../../x', '../../x'],
    ['BASED', 'https://other.example/base/x', 'https://other.example/base/x'],
    ['BASED', 'mailto:ada@example.com', 'mailto:ada@example.com'],
    ['BASED', 'http://[', 'http://['],
    // Sent in UTF-8; Node reads header bytes as Latin-1.
    ['BASED', Buffer.from('/base/café?q=日本').toString('latin1'), '/call/BASED/caf%C3%A9?q=%E6%97%A5%E6%9C%AC'],
    ['BASED', '/base/caf%C3%A9', '/call/BASED/caf%C3%A9'],
    ['BARE', '/x', '/call/BARE/x'],
    ['BARE', '/', '/call/BARE/'],
    ['BARE', 'UP', '/call/BARE/'],
    ['BARE', 'UP/x/y', '/call/BARE/x/y'],
    ['BARE', 'HERE/x', '/call/BARE/x'],
    ['BARE', '//other.example/x', '//other.example/x'],
  ])('API %s, Location: %s: becomes %s', async (api, location, expected) => {
    const filled = (text: string): string =>
      text
        .replace('BASED', based)
        .replace('BARE', bare)
        .replace('UPHOST', new URL(origin).host)
        .replace('UP', origin)
        .replace('HERE', direct.url);
    answer = (_incoming, outgoing) => {
      outgoing.writeHead(302, { location: filled(location), 'content-location': filled(location) }).end();
    };
    const passedOn = await call(direct, `/call/${filled(api)}/a/b?q`);
    expect(passedOn.status).toBe(302);
    expect(passedOn.headers.get('location')).toBe(filled(expected));
    expect(passedOn.headers.get('content-location')).toBe(filled(expected));
  });

  test('redirect followed by a client: leads through this server to the upstream', async () => {
    answer = ({ url }, outgoing) => {
      if (url === '/base/old') outgoing.writeHead(307, { location: '/base/new' }).end();
      else outgoing.end(url);
    };
    const followed = await fetch(`${direct.url}/call/${based}/old`, { headers: { 'x-api-key': key } });
    expect(await followed.text()).toBe('/base/new');
  });
});
