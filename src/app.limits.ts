import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { ByteBudget } from './common/byte-budget.js';
import { Problem } from './common/problem.js';
import { refuse } from './common/problem.filter.js';
import type { Env } from './config/env.js';
import type { HttpSocket } from './connections.js';

/** Bytes of a request's line and headers together. Beyond it: 431. */
const MAX_HEADER_BYTES = 16_384;

/** Headers of a request. Node would drop those beyond its own bound unseen. */
const MAX_HEADERS = 100;

/** Requests of one connection that may wait for their answers (pipelining, RFC 9112, section 9.3.2). */
const MAX_UNDER_WAY = 100;

/** Bytes of an answer that are not worth counting. */
const HELD_BYTES = 4_096;

/** How long a refused connection stays, so that what its client still sends does not wipe out the refusal on its way. */
const LINGER_MS = 1_000;

/** Of Node's HTTP server: what it bears of a request before anything of ours sees it. */
export function httpOptions(env: Env): Record<string, number | boolean> {
  return {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: env.headersTimeout,
    // Fastify sets it later; Node requires it to be no less than `headersTimeout` now.
    requestTimeout: env.requestTimeout,
    // How often Node looks whose time is over.
    connectionsCheckingInterval: 1_000,
    // Asked for below: Node's own refusal has no body.
    requireHostHeader: false,
  };
}

/** The requests of one connection that came and were not answered yet. */
interface Line {
  count: number;
  /** Those whose turn is still to come, in their order. */
  waiting: (() => void)[];
}

/**
 * Refuses what could be read in two ways, and too much at once, before anything else looks at a request. Requests of one
 * connection are worked on one after the other, the next once the client has taken the answer: answers that nobody reads
 * are held in memory, and whoever asks for hundreds of large ones in one packet would have them all.
 */
export function limitRequests(server: FastifyInstance, headers: Record<string, string>): void {
  server.server.maxHeadersCount = 0;
  const lines = new WeakMap<Socket, Line>();
  const counted = new WeakMap<IncomingMessage, Line>();
  server.addHook('onRequest', (request, reply, done) => {
    const { raw } = request;
    let line = lines.get(raw.socket);
    if (!line) lines.set(raw.socket, (line = { count: 0, waiting: [] }));
    line.count++;
    counted.set(raw, line);
    // Those behind a refusal, which ends the connection, are not heard.
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
    // What follows on the connection is not to be trusted. No other hook runs.
    reply.headers({ ...headers, 'x-request-id': request.id, connection: 'close' });
    refuse(problem, problem, request, reply);
  });
  server.addHook('onResponse', ({ raw }, _reply, done) => {
    const line = counted.get(raw);
    if (line) {
      line.count--;
      // Of a connection that is gone nothing more is worked on. Not at once: an answer that fits into the system's buffers is
      // sent before this returns, and a hundred after each other would keep everybody else waiting.
      const next = raw.socket.destroyed ? undefined : line.waiting.shift();
      if (next) setImmediate(next);
    }
    done();
  });
}

/** Has answers of every route count in a budget until they have been sent. What finds no room is refused: 503. */
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

/** A fault of the client's, though others may be told the same for ours: 503 would fill the log. */
function tooMuchAtOnce(): Problem {
  return new Problem('too_many_attempts', { retryAfter: 1, detail: 'Wait for answers before you send more.' });
}

/** What is wrong with a message's frame (RFC 9112); undefined where nothing is. */
function faultOf({ headers, rawHeaders, httpVersion }: IncomingMessage): Problem | undefined {
  if (rawHeaders.length > 2 * MAX_HEADERS) {
    return new Problem('validation_failed', { status: 431, detail: `Send ${MAX_HEADERS} headers at most.` });
  }
  // Section 3.2: exactly one, and one that is a host. Two may be read as the one or the other on the way here.
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  const isHost = hosts === 0 ? httpVersion === '1.0' : hosts === 1 && HOST.test(headers.host ?? '');
  if (!isHost) return new Problem('validation_failed', { detail: 'Send one Host, of a name or address.' });
  // Section 6.1: a coding that is not undone would be taken for the body.
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return new Problem('unsupported_media_type', { detail: 'Send the body in no coding but chunked.' });
  }
  return undefined;
}

/** RFC 3986, section 3.2.2, with a port; empty where the address has none. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\da-f:.]+\])(?::\d*)?$/i;

const STATUS_OF: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/**
 * What is no HTTP that can be read, or does not arrive in time, has no request to answer: one line of the contract's form,
 * and the connection ends, whatever its client still sends.
 */
export function answerUnreadable(error: Error & { code?: string }, socket: HttpSocket): void {
  // Gone, or told already: what else it sends is read and thrown away for as long as it stays.
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  const answer = socket._httpMessage;
  if (answer?.req.complete) {
    // An earlier request is being answered: what is said now would be taken for that answer.
    answer.shouldKeepAlive = false;
    answer.once('close', () => socket.destroySoon());
    return;
  }
  // Half an answer, or a whole one to a request whose body nobody waits for.
  if (answer?.headersSent || (!answer && socket.bytesWritten > 0)) socket.destroy();
  else end(socket, refusalOf(STATUS_OF[error.code ?? ''] ?? '400 Bad Request'));
}

function refusalOf(status: string): string {
  const body = JSON.stringify({
    type: 'about:blank',
    title: status.slice(4),
    status: Number(status.slice(0, 3)),
    detail: 'The request cannot be read.',
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
