import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

/** A proxy to PostgreSQL whose connections a test can cut, without effect on other users of that PostgreSQL. */
export class Tunnel {
  private readonly sockets = new Set<net.Socket>();
  private isCut = false;

  private constructor(
    private readonly server: net.Server,
    /** The database address through the tunnel. */
    readonly url: string,
  ) {}

  /** @param databaseUrl a PostgreSQL on TCP or on a Unix socket */
  static async to(databaseUrl: string): Promise<Tunnel> {
    const url = new URL(databaseUrl);
    const folder = url.searchParams.get('host') ?? '';
    const port = Number(url.port === '' ? 5432 : url.port);
    const target = folder.startsWith('/') ? { path: `${folder}/.s.PGSQL.${port}` } : { host: url.hostname, port };
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    url.hostname = '127.0.0.1';
    url.port = String((server.address() as AddressInfo).port);
    url.searchParams.delete('host');
    const tunnel = new Tunnel(server, url.href);
    server.on('connection', (near) => {
      tunnel.join(near, net.connect(target));
    });
    return tunnel;
  }

  /** Closes all connections and rejects new ones. */
  cut(): void {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend(): void {
    this.isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  private join(near: net.Socket, far: net.Socket): void {
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      this.sockets.add(from);
      from.on('error', () => undefined);
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
    if (this.isCut) near.destroy();
  }
}
