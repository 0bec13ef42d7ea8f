import { PassThrough } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { ContentDigest } from './content-digest.js';

/** RFC 9530, appendix B: the content of its examples ends with a line feed. */
const CONTENT = '{"hello": "world"}\n';
const SHA256 = 'sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:';
const SHA512 = 'sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:';

/** RFC 9421, appendix B.2: the same content without the line feed. */
const OTHER = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:';

/** The digest of an empty body. */
const EMPTY = 'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:';

async function fits(field: string, ...chunks: (string | Buffer)[]): Promise<boolean> {
  const digest = new ContentDigest(field, true);
  const raw = new PassThrough();
  digest.watch({ raw } as unknown as FastifyRequest);
  const ended = new Promise((resolve) => raw.on('end', resolve));
  for (const chunk of chunks) raw.write(chunk);
  raw.end();
  await ended;
  return digest.fits();
}

describe('Content-Digest', () => {
  test('matches the examples of the RFCs, in one chunk or in many', async () => {
    for (const field of [SHA256, SHA512, `${SHA256}, ${SHA512}`, `md5=:AAAA:,${SHA256}`, `${SHA256};x=1`]) {
      expect(await fits(field, CONTENT)).toBe(true);
      expect(await fits(field, ...CONTENT)).toBe(true);
      expect(await fits(field, CONTENT.trim())).toBe(false);
      expect(await fits(field, CONTENT, ' ')).toBe(false);
      expect(await fits(field)).toBe(false);
    }
    expect(await fits(OTHER, CONTENT.trim())).toBe(true);
    expect(await fits(EMPTY)).toBe(true);
  });

  test('matches only if every known digest matches, and compares bytes, not decoded text', async () => {
    expect(await fits(`${SHA512}, ${OTHER}`, CONTENT)).toBe(false);
    expect(await fits(`${SHA256}, sha-512=:AAAA:`, CONTENT)).toBe(false);
    // Both decode to U+FFFD.
    const [broken, replaced] = [Buffer.from([0xff]), Buffer.from('\ufffd')];
    const field = 'sha-256=:qBAK5qoZQNC2Y7sxzUZhQuu9vVGHExuS2TgYmHgy64k=:';
    expect([await fits(field, broken), await fits(field, replaced)]).toEqual([true, false]);
  });

  test('does not match until the whole body is received', () => {
    const digest = new ContentDigest(EMPTY, true);
    digest.watch({ raw: new PassThrough() } as unknown as FastifyRequest);
    expect(digest.fits()).toBe(false);
    const none = new ContentDigest(EMPTY, false);
    expect([none.fits(), none.fits()]).toEqual([true, true]);
    expect(new ContentDigest(SHA256, false).fits()).toBe(false);
  });

  test.each([
    '',
    'x',
    'sha-256',
    'sha-256="AAAA"',
    'sha-256=(:AAAA:)',
    'sha-256=:AAAA',
    'md5=:AAAA:',
    'SHA-256=:AAAA:',
  ])('throws BadSignature if no digest can be compared: %s', (field) => {
    expect(() => new ContentDigest(field, true)).toThrow(expect.objectContaining({ name: 'BadSignature' }));
  });
});
