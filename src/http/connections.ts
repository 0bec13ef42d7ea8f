import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';

/** How long a stopping server accepts connections that keep arriving without a pause. */
export const BACKLOG_MS = 5_000;

/** How long a connection may stay idle after the server begins to stop. */
const LAST_KEEP_ALIVE_MS = 100;

/** How long a new connection may take to send its first byte after the server begins to stop. */
const FIRST_BYTE_MS = 1_000;

/** How long an incomplete request may take to arrive after the server begins to stop. */
const LAST_ARRIVAL_MS = 3_000;

/** How often connections are checked. */
const LOOK_MS = 1_000;

/** Minimum read speed of clients, in bytes per second. Slower clients are disconnected, because they hold memory. */
const SLOWEST_READER = 65_536;

/** Minimum interval between log lines about refused connections, which are counted in between. */
const REFUSALS_LOGGED_MS = 60_000;

/** File descriptors reserved for database connections, upstreams and files. */
const SPARE_FILES = 64;

/** A socket with its current response. `_httpMessage` is internal to Node, but there is no public access. */
export type HttpSocket = Socket & { _httpMessage?: (ServerResponse & { req: IncomingMessage }) | null };

/** The state of an open connection. */
interface Connection {
  /** When it was accepted (milliseconds since 1970). */
  since: number;
  /** The response to the newest request. Cleared within a second after it was sent, to free its memory. */
  newest: ServerResponse | undefined;
  /** Bytes that the client had read at the last check. */
  taken: number;
  /** The deadline to read some of the pending bytes (milliseconds since 1970); undefined if no bytes are pending. */
  due: number | undefined;
}

export interface ConnectionLimits {
  /** Maximum number of open connections. */
  max: number;
  /** Milliseconds that a response may wait for its client, plus one second for each `slowest` bytes. */
  patience: number;
  /** Bytes per second. */
  slowest?: number;
  /** Called with the number of refused connections, at most once a minute. */
  onRefused: (refused: number) => void;
}

/**
 * Tracks the connections of a server. Resets connections beyond the maximum before it reads a byte, so that they do not
 * slow down the others. Does not use Node's `maxConnections`: full workers would pass a connection to each other in a
 * circle. Disconnects clients that do not read their responses.
 */
export class Connections {
  private readonly open = new Map<HttpSocket, Connection>();
  private readonly timer: NodeJS.Timeout;
  private isRetired = false;
  /** New connections that are not read until the port is closed. */
  private held: Socket[] | undefined;
  private count = 0;
  private refused = 0;
  private toldAt = -Infinity;

  constructor(
    /** `pauseOnConnect` is an option of Node's `net.Server`. Its types lack the property. */
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

  /** The number of connections accepted so far, including refused ones. */
  get accepted(): number {
    return this.count;
  }

  private admit(socket: Socket): void {
    this.count++;
    if (this.open.size >= this.limits.max) {
      this.refused++;
      // Later listeners of this connection must not see an unhandled error.
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
      // With pipelining, only the response to the last request may close the connection.
      if (newest && !newest.headersSent) newest.shouldKeepAlive = true;
      response.shouldKeepAlive = false;
    }
    connection.newest = response;
  }

  /**
   * Closes idle connections, except those that still send a response. Node considers a response finished as soon as it
   * is buffered completely, and would disconnect slow readers.
   */
  private sparingAnswers(closeIdle: () => void): void {
    const sending: { finished: boolean }[] = [...this.open.keys()].flatMap(({ _httpMessage: answer }) =>
      answer?.writableEnded ? [answer] : [],
    );
    for (const answer of sending) answer.finished = false;
    closeIdle();
    for (const answer of sending) answer.finished = true;
  }

  /** Disconnects clients that missed their read deadline, and reports refused connections. */
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

  /** Makes every response close its connection (`Connection: close`), including responses in progress. */
  retire(): void {
    this.isRetired = true;
    for (const { newest } of this.open.values()) if (newest && !newest.headersSent) newest.shouldKeepAlive = false;
  }

  /**
   * Accepts connections, but does not read from them until the port is closed. Clients that open one connection per
   * request then wait for responses instead of opening new ones, so the backlog drains.
   */
  hold(): void {
    this.held ??= [];
    this.http.pauseOnConnect = true;
  }

  /**
   * Accepts the connections in the kernel's backlog, closes the port, and then closes the connections. Node closes idle
   * connections at once and waits for pending responses. But it also waits for connections that never sent anything
   * (browsers and load balancers open some in advance) and for requests that never arrive completely. This ends both.
   * @returns a function that stops the timers; call it after the server has stopped
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
      // Runs after the event loop has read arrived data: closing a connection with unread bytes resets it.
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
   * Accepts connections until a turn of the event loop, which accepts one connection, finds none. Connections that are
   * still in the kernel's backlog when the port closes are reset. Returns right after that turn.
   */
  private async takeBacklog(): Promise<void> {
    const deadline = Date.now() + BACKLOG_MS;
    // The current turn may already have checked for connections.
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
      // Keeps connections whose request has arrived completely.
      if (socket._httpMessage?.req.complete) continue;
      if (isLate || (socket.bytesRead === 0 && now - since > FIRST_BYTE_MS)) socket.destroy();
    }
  }
}

/**
 * Returns the maximum number of connections: the configured number, or fewer if the open-files limit of the process
 * requires it (on Linux, which reports the limit). Reserves some files for the database and for upstreams.
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
