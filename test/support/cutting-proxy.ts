import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A proxy that loses the first response to each request with an Idempotency-Key: the server has answered, and the
 * connection of the client is cut. It loses every response to other requests while `losesAll` is set.
 */
export class CuttingProxy {
  losesAll = false;
  /** Responses lost so far. */
  lost = 0;
  private readonly seen = new Set<string>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async to(url: string): Promise<CuttingProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new CuttingProxy(server, `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`);
    const { hostname, port } = new URL(url);
    server.on('request', (incoming, outgoing) => {
      const { method, url: path, headers } = incoming;
      const sent = request({ hostname, port, method, path, headers, agent: false }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          if (proxy.isToLose(headers['idempotency-key'])) outgoing.destroy();
          else outgoing.writeHead(answer.statusCode ?? 0, answer.headers).end(Buffer.concat(chunks));
        });
      });
      sent.on('error', () => outgoing.destroy());
      incoming.pipe(sent);
    });
    return proxy;
  }

  private isToLose(key: string | string[] | undefined): boolean {
    const name = String(key ?? '');
    if (!this.losesAll && (name === '' || this.seen.has(name))) return false;
    this.seen.add(name);
    this.lost++;
    return true;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}
