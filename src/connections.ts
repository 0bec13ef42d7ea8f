import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How long a connection may stay idle once the server stops. */
const LAST_KEEP_ALIVE_MS = 100;

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
  private refused = 0;
  private toldAt = -Infinity;

  constructor(
    private readonly http: Server,
    private readonly limits: ConnectionLimits,
  ) {
    http.prependListener('connection', (socket: Socket) => {
      this.admit(socket);
    });
    this.timer = setInterval(() => {
      this.look(Date.now());
    }, LOOK_MS).unref();
  }

  private admit(socket: Socket): void {
    if (this.open.size >= this.limits.max) {
      this.refused++;
      // Whoever hears of the connection next must find it gone without a fault.
      socket.on('error', () => undefined).resetAndDestroy();
      return;
    }
    this.open.set(socket, { taken: 0, due: undefined });
    socket.once('close', () => this.open.delete(socket));
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
    }
    if (this.refused > 0 && now - this.toldAt >= REFUSALS_LOGGED_MS) {
      onRefused(this.refused);
      this.refused = 0;
      this.toldAt = now;
    }
  }

  /**
   * Ends connections while the server stops. Node closes idle ones at once but waits for others: for those whose answer
   * is still to come, which is right; for those that never sent anything (browsers and load balancers open some in
   * advance), and for those that stay open after their answer, as they were promised.
   * @returns what ends it, once the server has stopped
   */
  close(): () => void {
    const since = Date.now();
    // Long enough that a request that is on its way already is answered too, and told to be the last.
    this.http.keepAliveTimeout = LAST_KEEP_ALIVE_MS;
    const sweep = setInterval(() => {
      this.http.closeIdleConnections();
      const late = Date.now() - since > LAST_ARRIVAL_MS;
      for (const socket of this.open.keys()) {
        // Not those whose request has yet to arrive whole.
        const isAnswering = socket._httpMessage?.req.complete ?? false;
        if (!isAnswering && (socket.bytesRead === 0 || late)) socket.destroy();
      }
    }, LAST_KEEP_ALIVE_MS);
    return () => {
      clearInterval(sweep);
      clearInterval(this.timer);
    };
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
