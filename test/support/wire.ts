import net from 'node:net';

/** A connection that says what it is told to, byte for byte, and hears what comes back. */
export class Wire {
  /** All that came back. */
  text = '';
  isConnected = false;
  /** How it ended; undefined while it is open. */
  end: 'closed' | 'reset' | undefined;
  /** Resolves when it has ended. */
  readonly over: Promise<Wire>;
  private readonly socket: net.Socket;
  private isDripping = false;

  constructor(url: string, ...says: (string | Buffer)[]) {
    // Half open: it goes on talking when the server has said its last word.
    this.socket = net.connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
    this.over = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.end ??= 'closed';
        resolve(this);
      });
    });
    this.socket.once('connect', () => (this.isConnected = true));
    this.socket.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    // Who has nothing more to say would never learn that nobody listens.
    this.socket.once('end', () => {
      if (!this.isDripping) this.socket.end();
    });
    // Its own writes may fail as well, once the other side is gone.
    this.socket.on('error', () => (this.end = 'reset'));
    for (const each of says) this.say(each);
  }

  say(data: string | Buffer): void {
    if (this.socket.writable) this.socket.write(data);
  }

  /** Says it again and again until the connection is over. @param everyMs milliseconds */
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

  /** Ends what this side says. */
  hangUp(): this {
    this.socket.end();
    return this;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** The status of each answer so far. */
  get statuses(): number[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  }
}
