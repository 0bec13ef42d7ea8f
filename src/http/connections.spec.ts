import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { jest } from '@jest/globals';
import { Connections, connectionsFor, type ConnectionLimits } from './connections.js';

/** More than the buffers of a connection hold if the client does not read. */
const LARGE = Buffer.alloc(64_000_000);

describe('Connections', () => {
  let http: Server;
  let port: number;
  let refused: number[];
  /** Stops without closing connections that are still in use. */
  let stopSoftly: () => Promise<void>;
  let stop: () => Promise<void>;

  async function start(limits: Partial<ConnectionLimits>): Promise<void> {
    refused = [];
    let closed: (() => void) | undefined;
    http = createServer((_request, response) => response.end(LARGE));
    const onRefused = (count: number) => refused.push(count);
    const connections = new Connections(http, { max: 10, patience: 60_000, onRefused, ...limits });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    port = (http.address() as AddressInfo).port;
    stopSoftly = async () => {
      closed ??= await connections.close();
    };
    stop = async () => {
      await stopSoftly();
      http.closeAllConnections();
      closed?.();
    };
  }

  afterEach(async () => {
    await stop();
    jest.useRealTimers();
  });

  test('client that does not read a response in time: disconnected', async () => {
    await start({ patience: 500, slowest: 1e12 });
    const client = net.connect(port, '127.0.0.1').pause();
    client.on('error', () => undefined);
    const [socket] = (await once(http, 'connection')) as [net.Socket];
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'close');
    expect(socket.bytesRead).toBeGreaterThan(0);
    client.destroy();
  });

  test('client that keeps reading a large response: not disconnected', async () => {
    // Without patience the deadline depends only on the pending bytes. A client that reads meets it.
    await start({ patience: 0, slowest: 1_000_000 });
    const [response] = (await once(get({ port, host: '127.0.0.1' }), 'response')) as [IncomingMessage];
    let bytes = 0;
    for await (const chunk of response) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(LARGE.length);
  });

  test('stop while a client reads a large response slowly: not disconnected', async () => {
    await start({});
    const client = net.connect(port, '127.0.0.1').pause();
    let bytes = 0;
    client.on('data', (chunk) => (bytes += chunk.length)).pause();
    const answered = once(http, 'request');
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await answered;
    await stopSoftly();
    client.resume();
    await once(client, 'close');
    expect(bytes).toBeGreaterThan(LARGE.length);
  });

  test('connections beyond the maximum: reset at once, and counted', async () => {
    // Fakes only setInterval, which checks the connections, so that all three are refused before the first check.
    jest.useFakeTimers({ doNotFake: ['Date', 'nextTick', 'queueMicrotask', 'setImmediate', 'setTimeout'] });
    await start({ max: 2 });
    const closed = new Promise<void>((resolve) => {
      http.once('connection', (socket: net.Socket) => socket.once('close', () => resolve()));
    });
    const open = [1, 2].map(() => net.connect(port, '127.0.0.1'));
    await Promise.all(open.map((socket) => once(socket, 'connect')));
    for (let i = 0; i < 3; i++) {
      const socket = net.connect(port, '127.0.0.1');
      // A reset is an error event of the socket.
      const [error] = (await once(socket, 'error').catch((reason: unknown) => [reason])) as [NodeJS.ErrnoException];
      expect(error.code).toBe('ECONNRESET');
    }
    expect(refused).toEqual([]);
    jest.advanceTimersByTime(1_000);
    expect(refused).toEqual([3]);
    // A closed connection frees its place.
    open[0]?.destroy();
    await closed;
    const [response] = (await once(get({ port, host: '127.0.0.1' }), 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    response.destroy();
    for (const socket of open) socket.destroy();
  });
});

describe('connectionsFor', () => {
  test.each([
    [10_000, 10, 1_000_000, 10_000],
    [10_000, 10, 20_000, 10_000],
    [18_000, 10, 20_000, 17_990],
    [10_000, 10, 256, 182],
    [10_000, 10, 64, 1],
    [10_000, 10, Infinity, 10_000],
  ])('%d configured, a pool of %d, %d open files: returns %d', (wished, pool, files, expected) => {
    expect(connectionsFor(wished, pool, files)).toBe(expected);
  });
});
