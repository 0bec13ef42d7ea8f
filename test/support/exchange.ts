import { Agent, request } from 'node:http';
import { answerTo, type Answer } from './answer.js';

/** A request as sent. */
export interface Wire {
  method: string;
  /** With query; sent without normalization. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

/** Returns an agent with `count` persistent connections. */
export function keptConnections(count: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: count });
}

/** Sends a request unchanged and reads the complete response, decompressed. */
export function exchange(url: string, { method, path, headers = {}, body }: Wire, agent: Agent): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const sent = request({ hostname, port, method, path, agent, headers: { ...headers, ...length } });
  sent.end(body);
  return answerTo(sent);
}

/** Runs `work` for each item, `width` at a time. Stops at the first failure. */
export async function eachAtOnce<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = items[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (let next = left.next(); !next.done; next = left.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: width }, lane));
}
