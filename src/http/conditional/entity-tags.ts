import type { IncomingHttpHeaders } from 'node:http';
import { Problem } from '../../common/problem.js';

/** Any tag, or the listed tags: the text between the quotes, without the content coding. */
export type Tags = '*' | string[];

/** RFC 9110, section 8.8.3: visible characters except quotes, and non-ASCII bytes. */
const TAG = /(?:W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;

/** A list with at least one tag. Elements may be empty (section 5.6.1.2). */
const TAGS = /^(?=.*")[ \t,]*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*(?:,[ \t,]*|$))+$/;

/** The suffix that this server and compressing proxies append to the tag of a compressed response. */
const CODING = /--?(?:br|gzip|deflate|zstd)$/;

/**
 * Reads `If-Match` or `If-None-Match`. Treats a weak tag as strong: this server makes strong tags only, and compressing
 * proxies weaken them. With the strong comparison of RFC 9110, section 13.1.1, every write behind such a proxy would
 * fail.
 * @throws Problem validation_failed if the header is not a list of entity tags
 */
export function readTags(headers: IncomingHttpHeaders, name: 'If-Match' | 'If-None-Match'): Tags | undefined {
  const header = headers[name === 'If-Match' ? 'if-match' : 'if-none-match'];
  if (header === undefined) return undefined;
  if (header.trim() === '*') return '*';
  if (!TAGS.test(header)) throw Problem.field(`/${name}`, 'must be * or entity tags like "42"');
  return [...header.matchAll(TAG)].map(([, opaque = '']) => opaque.replace(CODING, ''));
}
