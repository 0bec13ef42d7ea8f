import type { ClientRequest } from 'node:http';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

/** A complete response. `body` is the parsed JSON, or the text of other media types. */
export interface Answer<T = any> {
  status: number;
  headers: Headers;
  body: T;
  text: string;
}

/** Reads the response to a request and decompresses it. The caller ends the request. */
export function answerTo(sent: ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    sent.on('error', reject);
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('error', reject);
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const headers = new Headers();
        for (const [name, value] of Object.entries(response.headers)) headers.set(name, String(value));
        try {
          const text = unpacked(Buffer.concat(chunks), headers.get('content-encoding')).toString();
          const status = response.statusCode ?? 0;
          note(sent.method, sent.path, status, headers);
          resolve({ status, headers, body: parsed(headers, text), text });
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
  });
}

/** Records a request for the report of a failed test. */
function note(method: string, path: string, status: number, headers: Headers): void {
  globalThis.testRequests?.push({
    id: headers.get('x-request-id') ?? '-',
    line: `${method} ${path}: ${String(status)}`,
  });
}

/** Parses one JSON document. NDJSON stays text. */
function parsed(headers: Headers, text: string): any {
  return /[/+]json\b/.test(headers.get('content-type') ?? '') && text !== '' ? JSON.parse(text) : text;
}

function unpacked(bytes: Buffer, encoding: string | null): Buffer {
  if (bytes.length === 0) return bytes;
  if (encoding === 'gzip') return gunzipSync(bytes);
  return encoding === 'br' ? brotliDecompressSync(bytes) : bytes;
}
