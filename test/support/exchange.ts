import { Agent, request } from 'node:http';
import { answerTo, type Answer } from './answer.js';

/** A request as it goes over the wire. */
export interface Wire {
  method: string;
  /** With its query; sent as it is, nothing is tidied. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

/** Connections that are kept, for many requests at once. */
export function keptConnections(count: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: count });
}

/** Sends a request exactly as it is written, and reads the answer whole, unpacked. */
export function exchange(url: string, { method, path, headers = {}, body }: Wire, agent: Agent): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const sent = request({ hostname, port, method, path, agent, headers: { ...headers, ...length } });
  sent.end(body);
  return answerTo(sent);
}

/** Runs a function over items, so many at a time; the first failure ends it. */
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
