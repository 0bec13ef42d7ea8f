import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { ByteBudget } from './byte-budget.js';
import { Problem } from '../common/problem.js';
import { refuse } from './problem.filter.js';
import type { Env } from '../config/env.js';
import type { HttpSocket } from './connections.js';

/** Maximum size of request line and headers together, in bytes. Beyond it: 431. */
const MAX_HEADER_BYTES = 16_384;

/** Maximum number of headers of a request. Node would silently drop headers beyond its own limit. */
const MAX_HEADERS = 100;

/** Maximum number of pending requests on one connection (pipelining, RFC 9112, section 9.3.2). */
const MAX_UNDER_WAY = 100;

/** Responses up to this size, in bytes, are not counted in the budget. */
const HELD_BYTES = 4_096;

/**
 * How long a rejected connection stays open. Closing it at once, with unread data, would reset it and lose the
 * response.
 */
const LINGER_MS = 1_000;

/** Options of Node's HTTP server: limits that apply before any hook runs. */
export function httpOptions(env: Env): Record<string, number | boolean> {
  return {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: env.headersTimeout,
    // Fastify sets it later, but Node already requires it to be at least `headersTimeout`.
    requestTimeout: env.requestTimeout,
    // How often Node checks these timeouts.
    connectionsCheckingInterval: 1_000,
    // faultOf checks it: Node's own error response has no body.
    requireHostHeader: false,
  };
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The queue of its connection; null until `limitRequests` has counted the request. */
    line: Line | null;
  }
}

/** The pending requests of one connection. */
interface Line {
  count: number;
  /** Starts the queued requests, in order. */
  waiting: (() => void)[];
}

/**
 * Rejects ambiguous requests, and too many pipelined ones, before anything else processes a request. Requests of one
 * connection run one at a time; the next starts when the client has received the response. Unread responses are held in
 * memory: otherwise a client could make the server hold hundreds of large ones with one packet.
 */
export function limitRequests(server: FastifyInstance, headers: Record<string, string>): void {
  server.server.maxHeadersCount = 0;
  const lines = new WeakMap<Socket, Line>();
  // On the request: a WeakMap with an entry for each request makes a read 7 % slower.
  server.decorateRequest('line', null);
  server.addHook('onRequest', (request, reply, done) => {
    const { raw } = request;
    let line = lines.get(raw.socket);
    if (!line) lines.set(raw.socket, (line = { count: 0, waiting: [] }));
    line.count++;
    request.line = line;
    // Ignores requests after a rejected one, because the rejection closes the connection.
    if (line.count > MAX_UNDER_WAY + 1) {
      reply.hijack();
      return;
    }
    const problem = line.count > MAX_UNDER_WAY ? tooMuchAtOnce() : faultOf(raw);
    if (!problem) {
      if (line.count === 1) done();
      else line.waiting.push(done);
      return;
    }
    // Closes the connection, because later data on it cannot be trusted. No other hook runs, so sets the headers here.
    reply.headers({ ...headers, 'x-request-id': request.id, connection: 'close' });
    refuse(problem, problem, request, reply);
  });
  server.addHook('onResponse', ({ raw, line }, _reply, done) => {
    if (line) {
      line.count--;
      // Drops the queue of a closed connection. Uses setImmediate, because a response that fits into the system's
      // buffers
      // is sent synchronously, and a hundred in a row would block all other connections.
      const next = raw.socket.destroyed ? undefined : line.waiting.shift();
      if (next) setImmediate(next);
    }
    done();
  });
}

/** Counts the responses of every route in a budget until they are sent. Beyond the budget: 503. */
export function limitAnswers(server: FastifyInstance, budget: ByteBudget): void {
  server.addHook('onSend', (_request, reply, payload, done) => {
    try {
      if ((typeof payload === 'string' || Buffer.isBuffer(payload)) && payload.length > HELD_BYTES) {
        budget.hold(payload.length, reply.raw);
      }
      done(null, payload);
    } catch (error) {
      done(error as Error);
    }
  });
}

/** 429, not 503: the client is at fault, and a 503 would fill the log. */
function tooMuchAtOnce(): Problem {
  return new Problem('too_many_attempts', {
    retryAfter: 1,
    detail: 'Wait for responses before you send more requests.',
  });
}

/** Validates the framing of a request (RFC 9112). @returns undefined if it is valid */
function faultOf({ headers, rawHeaders, httpVersion }: IncomingMessage): Problem | undefined {
  if (rawHeaders.length > 2 * MAX_HEADERS) {
    return new Problem('validation_failed', { status: 431, detail: `Send at most ${MAX_HEADERS} headers.` });
  }
  // Section 3.2: exactly one valid Host. A proxy may have used the other one of two.
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  const isHost = hosts === 0 ? httpVersion === '1.0' : hosts === 1 && HOST.test(headers.host ?? '');
  if (!isHost)
    return new Problem('validation_failed', {
      detail: 'Send exactly one Host header with a host name or an IP address.',
    });
  // Section 6.1: the content of an unsupported transfer coding would be taken as the body.
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return new Problem('unsupported_media_type', { detail: 'The only supported Transfer-Encoding is chunked.' });
  }
  return undefined;
}

/** RFC 3986, section 3.2.2, with an optional port. Empty if the target URI has no authority. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\da-f:.]+\])(?::\d*)?$/i;

const STATUS_OF: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/**
 * Handles data that is not valid HTTP, or does not arrive in time. There is no request to answer: sends a problem in
 * the documented form and closes the connection, even if the client still sends data.
 */
export function answerUnreadable(error: Error & { code?: string }, socket: HttpSocket): void {
  // The connection is closed or already got a response. Further data is read and discarded until it closes.
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  const answer = socket._httpMessage;
  if (answer?.req.complete) {
    // A response to an earlier request is in progress: the client would take this one for it.
    answer.shouldKeepAlive = false;
    answer.once('close', () => socket.destroySoon());
    return;
  }
  // A response was sent in part, or was sent to a request whose body did not arrive.
  if (answer?.headersSent || (!answer && socket.bytesWritten > 0)) socket.destroy();
  else end(socket, refusalOf(STATUS_OF[error.code ?? ''] ?? '400 Bad Request'));
}

function refusalOf(status: string): string {
  const body = JSON.stringify({
    type: 'about:blank',
    title: status.slice(4),
    status: Number(status.slice(0, 3)),
    detail: 'The request is not valid HTTP or did not arrive in time.',
    code: 'validation_failed',
  });
  return (
    `HTTP/1.1 ${status}\r\nContent-Type: application/problem+json\r\nContent-Length: ${String(body.length)}\r\n` +
    `Connection: close\r\n\r\n${body}`
  );
}

function end(socket: Socket, answer: string): void {
  socket.end(answer);
  const lingering = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => {
    clearTimeout(lingering);
  });
}
