import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import pg from 'pg';

const SSL_REQUEST = 80_877_103;
const IDLE = 'I'.charCodeAt(0);

/** Formats a message of the PostgreSQL protocol: type, length, content. */
function message(type: string, content: Buffer): Buffer {
  const head = Buffer.from(`${type}....`);
  head.writeInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}

/** Splits received data into complete messages. */
function messages(read: (each: Buffer) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
      const length = rest.readInt32BE(1) + 1;
      read(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  };
}

function streamOf(session: pg.Client): Socket {
  return (session as unknown as { connection: { stream: Socket } }).connection.stream;
}

/**
 * A pooler in transaction mode without support for prepared statements, like PgBouncer before 1.21. Each transaction
 * gets one of a few sessions, the most recently used first. Ignores the connection parameters of clients.
 */
export class Pooler {
  private readonly free: Socket[] = [];
  private readonly waiting: ((session: Socket) => void)[] = [];
  private readonly holders = new Map<Socket, Socket>();

  private constructor(
    private readonly sessions: pg.Client[],
    private readonly server: Server,
    /** The database address through the pooler. */
    readonly url: string,
  ) {
    server.on('connection', (client) => {
      this.serve(client);
    });
    for (const session of sessions) {
      session.on('error', () => undefined);
      const stream = streamOf(session);
      stream.removeAllListeners('data');
      stream.on('data', (chunk) => this.holders.get(stream)?.write(chunk));
      stream.on(
        'data',
        messages((each) => this.isReady(each) && this.release(stream)),
      );
      this.free.push(stream);
    }
  }

  static async start(url: string, size: number): Promise<Pooler> {
    const sessions = Array.from({ length: size }, () => new pg.Client({ connectionString: url }));
    await Promise.all(sessions.map((session) => session.connect()));
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return new Pooler(sessions, server, `postgresql://someone@127.0.0.1:${String(port)}/database?sslmode=disable`);
  }

  async stop(): Promise<void> {
    this.server.close();
    for (const session of this.sessions) streamOf(session).destroy();
    await once(this.server, 'close');
  }

  private serve(client: Socket): void {
    client.on('error', () => client.destroy());
    client.once('data', (first: Buffer) => {
      if (first.readInt32BE(4) === SSL_REQUEST) {
        client.write('N');
        this.serve(client);
        return;
      }
      const ready = message('Z', Buffer.from('I'));
      client.write(Buffer.concat([message('R', Buffer.alloc(4)), message('K', randomBytes(8)), ready]));
      let sent = Promise.resolve();
      const read = messages((each) => {
        if (each.toString('latin1', 0, 1) === 'X') client.destroy();
        else sent = sent.then(async () => void (await this.sessionOf(client)).write(each));
      });
      client.on('data', read);
    });
  }

  private async sessionOf(client: Socket): Promise<Socket> {
    for (const [session, holder] of this.holders) if (holder === client) return session;
    const session = this.free.pop() ?? (await new Promise<Socket>((resolve) => this.waiting.push(resolve)));
    this.holders.set(session, client);
    return session;
  }

  private isReady(each: Buffer): boolean {
    return each[0] === 'Z'.charCodeAt(0) && each[5] === IDLE;
  }

  private release(session: Socket): void {
    this.holders.delete(session);
    const next = this.waiting.shift();
    if (next) next(session);
    else this.free.push(session);
  }
}
