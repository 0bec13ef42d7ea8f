import { connect, type Socket } from 'node:net';

/** What was answered to a request, read whole. */
export interface Reply {
  /** 0: the connection ended before all of an answer had come, so that what became of the request is not known. */
  status: number;
  /** The status line and the headers, as they came. */
  head: string;
  text: string;
}

/** Writes a request as it goes over the wire. */
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

/** The value of a header of a reply; undefined where it has none. */
export function headerOf({ head }: Reply, name: string): string | undefined {
  return new RegExp(`^${name}: (.*?)\r?$`, 'im').exec(head)?.[1];
}

/**
 * A connection that is kept open and carries one request at a time. Node's own client takes more of the processor than
 * the server that is to be loaded.
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
    // A character a byte, as Content-Length counts.
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

/** One thing to send, and what is done with what comes back: `false` ends the connection's part. */
export interface Shot {
  text: string;
  heard: (reply: Reply) => unknown;
}

/**
 * Loads some servers at once: each connection sends one shot after the other until there is none for it any more.
 * @param connections to each server
 * @param next what a connection to that server (its place) sends next
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
