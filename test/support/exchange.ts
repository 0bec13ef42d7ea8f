import { Agent, request } from 'node:http';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { Answer } from './api.js';

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
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const sent = request({ hostname, port, method, path, agent, headers: { ...headers, ...length } });
    sent.on('error', reject);
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('error', reject);
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const received = new Headers();
        for (const [name, value] of Object.entries(response.headers)) received.set(name, String(value));
        try {
          const text = unpacked(Buffer.concat(chunks), received.get('content-encoding')).toString();
          const isJson = /[/+]json\b/.test(received.get('content-type') ?? '') && text !== '';
          resolve({
            status: response.statusCode ?? 0,
            headers: received,
            body: isJson ? JSON.parse(text) : text,
            text,
          });
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
    sent.end(body);
  });
}

function unpacked(bytes: Buffer, encoding: string | null): Buffer {
  if (bytes.length === 0) return bytes;
  if (encoding === 'gzip') return gunzipSync(bytes);
  return encoding === 'br' ? brotliDecompressSync(bytes) : bytes;
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
