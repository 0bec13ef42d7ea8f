import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An HTTP server that is not Quartermaster, such as an upstream. */
export class OtherServer {
  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(listener: RequestListener): Promise<OtherServer> {
    const server = createServer(listener).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new OtherServer(server, `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`);
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }
}

/** Returns a function that starts a server and returns its address. The servers stop after each test. */
export function serversOfTests(): (listener: RequestListener) => Promise<string> {
  const running: OtherServer[] = [];
  afterEach(() => Promise.all(running.splice(0).map((server) => server.stop())));
  return async (listener) => {
    const server = await OtherServer.start(listener);
    running.push(server);
    return server.url;
  };
}
