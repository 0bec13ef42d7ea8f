import net from 'node:net';

/** A raw TCP connection that sends given bytes and records what it receives. */
export class Wire {
  /** All received data. */
  text = '';
  isConnected = false;
  /** How the connection ended; undefined while it is open. */
  end: 'closed' | 'reset' | undefined;
  /** Resolves when the connection has ended. */
  readonly over: Promise<Wire>;
  private readonly socket: net.Socket;
  private isDripping = false;

  constructor(url: string, ...says: (string | Buffer)[]) {
    // Half-open, so that it can still send after the server has ended its side.
    this.socket = net.connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
    this.over = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.end ??= 'closed';
        resolve(this);
      });
    });
    this.socket.once('connect', () => (this.isConnected = true));
    this.socket.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    // Without pending data, the socket must end its side too, or the connection would never close.
    this.socket.once('end', () => {
      if (!this.isDripping) this.socket.end();
    });
    // Writes fail too after the other side has closed.
    this.socket.on('error', () => (this.end = 'reset'));
    for (const each of says) this.say(each);
  }

  say(data: string | Buffer): void {
    if (this.socket.writable) this.socket.write(data);
  }

  /** Sends the data repeatedly until the connection ends. @param everyMs the interval in milliseconds */
  drip(data: string, everyMs: number): this {
    this.isDripping = true;
    const timer = setInterval(() => {
      this.say(data);
    }, everyMs);
    void this.over.then(() => {
      clearInterval(timer);
    });
    return this;
  }

  /** Ends the sending side. */
  hangUp(): this {
    this.socket.end();
    return this;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** The status of each response so far. */
  get statuses(): number[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  }
}
