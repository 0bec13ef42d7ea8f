import { connect, type Socket } from 'node:net';

/** A complete response. */
export interface Reply {
  /** 0 if the connection ended before the complete response arrived, so that the outcome is unknown. */
  status: number;
  /** The status line and headers, unparsed. */
  head: string;
  text: string;
}

/** Formats a request as HTTP/1.1 text. */
export function write(method: string, path: string, headers: Record<string, string>, body?: object): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const all = {
    host: 'localhost',
    ...headers,
    ...(body === undefined
      ? { 'content-length': '0' }
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`;
}

/** Returns a header of a reply, or undefined. */
export function headerOf({ head }: Reply, name: string): string | undefined {
  return new RegExp(`^${name}: (.*?)\r?$`, 'im').exec(head)?.[1];
}

/**
 * A persistent connection that sends one request at a time. The HTTP client of Node would take more CPU time than the
 * server under load.
 */
class Connection {
  private socket: Socket | undefined;
  private received = '';
  private answer: (reply: Reply) => void = () => undefined;

  constructor(private readonly url: URL) {}

  send(text: string): Promise<Reply> {
    return new Promise((resolve) => {
      this.answer = resolve;
      this.received = '';
      this.socket ??= this.open();
      this.socket.write(text);
    });
  }

  close(): void {
    this.socket?.destroy();
  }

  private open(): Socket {
    const socket = connect(Number(this.url.port), this.url.hostname);
    // One character for each byte, because Content-Length counts bytes.
    socket.setEncoding('latin1');
    socket.setNoDelay();
    socket.on('data', (chunk: string) => {
      this.received += chunk;
      this.read();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.socket = undefined;
      this.answer({ status: 0, head: '', text: '' });
    });
    return socket;
  }

  private read(): void {
    const end = this.received.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.received.slice(0, end);
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (this.received.length < end + 4 + length) return;
    const text = Buffer.from(this.received.slice(end + 4), 'latin1').toString();
    this.answer({ status: Number(head.slice(9, 12)), head, text });
  }
}

/** A request and the handler of its reply. The connection stops when the handler returns `false`. */
export interface Shot {
  text: string;
  heard: (reply: Reply) => unknown;
}

/**
 * Loads several servers concurrently. Each connection sends one request at a time until `next` returns undefined.
 * @param connections for each server
 * @param next returns the next request for a server, given by index
 */
export async function load(
  servers: readonly { url: string }[],
  connections: number,
  next: (server: number) => Shot | undefined,
): Promise<void> {
  const lane = async (url: string, server: number): Promise<void> => {
    const connection = new Connection(new URL(url));
    try {
      for (let shot = next(server); shot; shot = next(server)) {
        if ((await shot.heard(await connection.send(shot.text))) === false) return;
      }
    } finally {
      connection.close();
    }
  };
  await Promise.all(servers.flatMap(({ url }, server) => Array.from({ length: connections }, () => lane(url, server))));
}
