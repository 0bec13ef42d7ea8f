import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { BACKLOG_MS } from './signals.js';

/** How long a connection may stay idle once the server stops. */
const LAST_KEEP_ALIVE_MS = 100;

/** How long a new connection may take to send its first byte once the server stops. */
const FIRST_BYTE_MS = 1_000;

/** How long a request that is half sent may take to arrive once the server stops. */
const LAST_ARRIVAL_MS = 3_000;

/** How often connections are looked at. */
const LOOK_MS = 1_000;

/** Who takes an answer more slowly, bytes a second, is cut off in the end: it holds the answer's memory. */
const SLOWEST_READER = 65_536;

/** Refused connections are logged at most so often, and counted meanwhile. */
const REFUSALS_LOGGED_MS = 60_000;

/** Open files that are for others: the database's connections, upstreams, what the program reads. */
const SPARE_FILES = 64;

/** A connection with the answer that Node has for it now; internal, but the only way to know of it. */
export type HttpSocket = Socket & { _httpMessage?: (ServerResponse & { req: IncomingMessage }) | null };

/** What is known of an open connection. */
interface Connection {
  /** When it was accepted (milliseconds since 1970). */
  since: number;
  /** The answer to its newest request; undefined a second after it was sent, so that idle connections hold no answers. */
  newest: ServerResponse | undefined;
  /** Bytes that the client had taken when it was last seen to take any. */
  taken: number;
  /** When it must have taken what waits for it (milliseconds since 1970); undefined while nothing does. */
  due: number | undefined;
}

export interface ConnectionLimits {
  /** Connections at once. */
  max: number;
  /** Milliseconds that an answer may wait for its client, besides a second for each `slowest` bytes. */
  patience: number;
  /** Bytes a second. */
  slowest?: number;
  /** Hears of refused connections, at most once a minute. */
  onRefused: (refused: number) => void;
}

/**
 * Keeps account of a server's connections. One too many is reset before a byte of it is read, which costs the others
 * nothing; Node's own `maxConnections` would have workers that are full hand it round in circles. Who does not take its
 * answer is cut off.
 */
export class Connections {
  private readonly open = new Map<HttpSocket, Connection>();
  private readonly timer: NodeJS.Timeout;
  private isRetired = false;
  /** New connections, not read yet, while the port is about to close. */
  private held: Socket[] | undefined;
  private count = 0;
  private refused = 0;
  private toldAt = -Infinity;

  constructor(
    /** `pauseOnConnect` is an option of Node's `net.Server`, which its types do not show as a property. */
    private readonly http: Server & { pauseOnConnect?: boolean },
    private readonly limits: ConnectionLimits,
  ) {
    http.prependListener('connection', (socket: Socket) => {
      this.admit(socket);
    });
    http.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      this.note(request.socket, response);
    });
    const closeIdle = http.closeIdleConnections.bind(http);
    http.closeIdleConnections = () => {
      this.sparingAnswers(closeIdle);
    };
    this.timer = setInterval(() => {
      this.look(Date.now());
    }, LOOK_MS).unref();
  }

  /** How many connections were accepted so far, refused ones included. */
  get accepted(): number {
    return this.count;
  }

  private admit(socket: Socket): void {
    this.count++;
    if (this.open.size >= this.limits.max) {
      this.refused++;
      // Whoever hears of the connection next must find it gone without a fault.
      socket.on('error', () => undefined).resetAndDestroy();
      return;
    }
    this.held?.push(socket);
    this.open.set(socket, { since: Date.now(), newest: undefined, taken: 0, due: undefined });
    socket.once('close', () => this.open.delete(socket));
  }

  private note(socket: Socket, response: ServerResponse): void {
    const connection = this.open.get(socket);
    if (!connection) return;
    const { newest } = connection;
    if (this.isRetired) {
      // With pipelining, the answer to the last request closes the connection, not the answers before it.
      if (newest && !newest.headersSent) newest.shouldKeepAlive = true;
      response.shouldKeepAlive = false;
    }
    connection.newest = response;
  }

  /**
   * Closes idle connections, but none that still sends an answer: Node takes an answer for sent once it has been handed
   * over whole, and would cut off clients that read slowly.
   */
  private sparingAnswers(closeIdle: () => void): void {
    const sending: { finished: boolean }[] = [...this.open.keys()].flatMap(({ _httpMessage: answer }) =>
      answer?.writableEnded ? [answer] : [],
    );
    for (const answer of sending) answer.finished = false;
    closeIdle();
    for (const answer of sending) answer.finished = true;
  }

  /** Cuts off who has had its time to take an answer, and tells how many connections were refused. */
  private look(now: number): void {
    const { patience, slowest = SLOWEST_READER, onRefused } = this.limits;
    for (const [socket, connection] of this.open) {
      const waiting = socket.writableLength;
      const taken = socket.bytesWritten - waiting;
      if (waiting === 0) connection.due = undefined;
      else if (connection.due === undefined || connection.taken !== taken) {
        connection.due = now + patience + (waiting / slowest) * 1_000;
      } else if (now > connection.due) socket.destroy();
      connection.taken = taken;
      if (connection.newest?.writableFinished) connection.newest = undefined;
    }
    if (this.refused > 0 && now - this.toldAt >= REFUSALS_LOGGED_MS) {
      onRefused(this.refused);
      this.refused = 0;
      this.toldAt = now;
    }
  }

  /** From now on each answer closes its connection and says so (`Connection: close`), also those under way. */
  retire(): void {
    this.isRetired = true;
    for (const { newest } of this.open.values()) if (newest && !newest.headersSent) newest.shouldKeepAlive = false;
  }

  /**
   * Accepts connections, but reads nothing of them until the port is closed. Clients that open a connection for each
   * request wait for their answers meanwhile, so the backlog comes to an end.
   */
  hold(): void {
    this.held ??= [];
    this.http.pauseOnConnect = true;
  }

  /**
   * Closes the port, once the connections that the kernel has accepted are taken, and then the connections. Node closes
   * idle ones at once but waits for others: for those whose answer is still to come, which is right; for those that never
   * sent anything (browsers and load balancers open some in advance), and for requests that never arrive whole.
   * @returns what ends it, once the server has stopped
   */
  async close(): Promise<() => void> {
    this.retire();
    this.hold();
    await this.takeBacklog();
    this.http.close();
    this.http.pauseOnConnect = false;
    for (const socket of this.held?.splice(0) ?? []) socket.resume();
    const closedAt = Date.now();
    this.http.keepAliveTimeout = LAST_KEEP_ALIVE_MS;
    const sweep = setInterval(() => {
      // After the event loop has read what has arrived: a connection with unread bytes is reset.
      setImmediate(() => {
        this.endUnused(closedAt);
      });
    }, LAST_KEEP_ALIVE_MS);
    return () => {
      clearInterval(sweep);
      clearInterval(this.timer);
    };
  }

  /**
   * Accepts connections until a turn of the event loop, which accepts one, finds none. What the kernel still holds when the
   * port closes is reset. Returns right after that turn has looked.
   */
  private async takeBacklog(): Promise<void> {
    const deadline = Date.now() + BACKLOG_MS;
    // The turn that is under way may have looked already.
    await turn();
    let before: number;
    do {
      before = this.count;
      await turn();
    } while (this.count > before && Date.now() < deadline);
  }

  private endUnused(closedAt: number): void {
    const now = Date.now();
    this.http.closeIdleConnections();
    const isLate = now - closedAt > LAST_ARRIVAL_MS;
    for (const [socket, { since }] of this.open) {
      // Not those whose request has arrived whole.
      if (socket._httpMessage?.req.complete) continue;
      if (isLate || (socket.bytesRead === 0 && now - since > FIRST_BYTE_MS)) socket.destroy();
    }
  }
}

/**
 * How many connections there may be: as many as are wished, or as the files allow that the process may have open (on
 * Linux, which tells), with some left for the database and for upstreams.
 */
export function connectionsFor(wished: number, databasePool: number, openFiles = openFilesLimit()): number {
  const spare = databasePool + Math.max(SPARE_FILES, Math.ceil(openFiles / 10));
  return Number.isFinite(openFiles) ? Math.max(1, Math.min(wished, openFiles - spare)) : wished;
}

function openFilesLimit(): number {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return limit === undefined ? Infinity : Number(limit);
  } catch {
    return Infinity;
  }
}
