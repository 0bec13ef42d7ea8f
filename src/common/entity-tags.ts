import type { IncomingHttpHeaders } from 'node:http';
import { Problem } from './problem.js';

/** Any, or the tags that a header lists: what stands between their quotes, without the coding. */
export type Tags = '*' | string[];

/** RFC 9110, section 8.8.3: visible characters but quotes, and bytes that are not ASCII. */
const TAG = /(?:W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;

/** A list, in which elements may be empty (section 5.6.1.2), but not all of them. */
const TAGS = /^(?=.*")[ \t,]*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*(?:,[ \t,]*|$))+$/;

/** What this server, and proxies that compress, append to the tag of an answer that they compress. */
const CODING = /--?(?:br|gzip|deflate|zstd)$/;

/**
 * Reads `If-Match` or `If-None-Match`. A weak tag counts as the strong one: this server makes strong tags only, and proxies
 * that compress weaken them. By the strong comparison of RFC 9110, section 13.1.1, no write would succeed behind those.
 * @throws Problem validation_failed for what is no list of entity tags
 */
export function readTags(headers: IncomingHttpHeaders, name: 'If-Match' | 'If-None-Match'): Tags | undefined {
  const header = headers[name === 'If-Match' ? 'if-match' : 'if-none-match'];
  if (header === undefined) return undefined;
  if (header.trim() === '*') return '*';
  if (!TAGS.test(header)) throw Problem.field(`/${name}`, 'must be * or entity tags like "42"');
  return [...header.matchAll(TAG)].map(([, opaque = '']) => opaque.replace(CODING, ''));
}
