import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { readDictionary, readSignature, type SignatureInput, type SignedMessage } from './signature-base.js';

/** RFC 9421, appendix B.2: the request that its examples sign. */
const REQUEST: SignedMessage = {
  method: 'POST',
  target: '/foo?param=Value&Pet=dog',
  scheme: 'https',
  authority: 'example.com',
  rawHeaders: [
    ...['Host', 'example.com'],
    ...['Date', 'Tue, 20 Apr 2021 02:07:55 GMT'],
    ...['Content-Type', 'application/json'],
    'Content-Digest',
    'sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:',
    ...['Content-Length', '18'],
  ],
};

/** Appendix B.2.6. */
const INPUT =
  'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"';
const SIGNATURE = 'sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:';

/** Appendix B.1.4. */
const PUBLIC = createPublicKey({
  key: Buffer.from('MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=', 'base64'),
  ...({ format: 'der', type: 'spki' } as const),
});
const PRIVATE = createPrivateKey({
  key: Buffer.from('MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF', 'base64'),
  ...({ format: 'der', type: 'pkcs8' } as const),
});

const BYTES = 'sig=:AAAA:';

const isOurs = (keyId: unknown): boolean => keyId === 'ours';

function read(input: string, signature = BYTES, message: Partial<SignedMessage> = {}): SignatureInput {
  return readSignature({ ...REQUEST, ...message }, input, signature, isOurs);
}

/** Returns the line of one component. */
function lineOf(component: string, message: Partial<SignedMessage> = {}): string {
  const [line = ''] = read(`sig=("${component}")`, BYTES, message).base.toString('latin1').split('\n"@signature');
  return line;
}

describe('the signature base', () => {
  test('equals the example of RFC 9421, appendix B.2.6, and its signature verifies', () => {
    const { base, signature, components, parameters } = read(INPUT, SIGNATURE);
    expect(base.toString()).toBe(
      `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
    );
    expect(components).toEqual(['date', '@method', '@path', '@authority', 'content-type', 'content-length']);
    expect(Object.fromEntries(parameters)).toEqual({ created: 1_618_884_473, keyid: 'test-key-ed25519' });
    expect(verify(null, base, PUBLIC, signature)).toBe(true);
    expect(sign(null, base, PRIVATE)).toEqual(signature);
    for (let i = 0; i < base.length; i++) {
      const other = Buffer.from(base);
      other[i]! ^= 1;
      expect(verify(null, other, PUBLIC, signature)).toBe(false);
    }
  });

  // RFC 9421, section 2.2, for requests.
  test.each([
    ['@method', {}, 'POST'],
    ['@target-uri', {}, 'https://example.com/foo?param=Value&Pet=dog'],
    ['@authority', {}, 'example.com'],
    ['@authority', { authority: 'EXAMPLE.com:443' }, 'example.com'],
    ['@authority', { authority: 'example.com:80' }, 'example.com:80'],
    ['@authority', { authority: 'Example.Com:80', scheme: 'http' }, 'example.com'],
    ['@authority', { authority: '[::1]:3000', scheme: 'http' }, '[::1]:3000'],
    ['@scheme', {}, 'https'],
    ['@request-target', {}, '/foo?param=Value&Pet=dog'],
    ['@path', {}, '/foo'],
    ['@path', { target: '/a%2Fb/./%61//c' }, '/a%2Fb/./%61//c'],
    ['@path', { target: '?x' }, '/'],
    ['@query', {}, '?param=Value&Pet=dog'],
    ['@query', { target: '/path?queryString' }, '?queryString'],
    ['@query', { target: '/path?a=%20+b?c' }, '?a=%20+b?c'],
    ['@query', { target: '/path?' }, '?'],
    ['@query', { target: '/path' }, '?'],
  ])('derives %s from %p', (component, message, value) => {
    expect(lineOf(component, message)).toBe(`"${component}": ${value}`);
  });

  test('takes everything from a target in absolute form, and nothing from Host', () => {
    const message = { target: 'HTTP://Other.example:80/a/b?c', authority: 'example.com', scheme: 'https' };
    expect(lineOf('@authority', message)).toBe('"@authority": other.example');
    expect(lineOf('@scheme', message)).toBe('"@scheme": http');
    expect(lineOf('@path', message)).toBe('"@path": /a/b');
    expect(lineOf('@query', message)).toBe('"@query": ?c');
    expect(lineOf('@target-uri', message)).toBe('"@target-uri": http://other.example/a/b?c');
    expect(lineOf('@request-target', message)).toBe('"@request-target": HTTP://Other.example:80/a/b?c');
    expect(lineOf('@path', { target: 'http://other.example' })).toBe('"@path": /');
  });

  // RFC 9421, section 2.1.
  test('joins the lines of a field in order, trimmed, with the bytes as received', () => {
    const rawHeaders = [
      'X-Dict',
      '  a=1,    b=2;x=1;y=2,   c=(a   b   c)\t',
      'x-other',
      '',
      'x-dIcT',
      'd=\u00e4\u00a0',
    ];
    expect(lineOf('x-dict', { rawHeaders })).toBe('"x-dict": a=1,    b=2;x=1;y=2,   c=(a   b   c), d=\u00e4\u00a0');
    expect(lineOf('x-other', { rawHeaders })).toBe('"x-other": ');
    expect(read('sig=("x-dict")', BYTES, { rawHeaders }).base.includes(Buffer.from([0xe4, 0xa0]))).toBe(true);
  });

  test('covers all parameters in order, known or unknown', () => {
    const input = 'sig=();tag="a\\"b";created=1;x=?0;y=:AQ==:;nonce="n"';
    expect(read(input).base.toString()).toBe('"@signature-params": ();tag="a\\"b";created=1;x=?0;y=:AQ==:;nonce="n"');
  });

  test('uses the one signature with a key of this server if a proxy adds another', () => {
    const input = 'proxy=("@method");keyid="theirs", mine=("@path");keyid="ours"';
    const { components, signature } = read(input, 'mine=:AQ==:, proxy=:AA==:');
    expect(components).toEqual(['@path']);
    expect(signature).toEqual(Buffer.from([1]));
  });

  test.each([
    ['', BYTES],
    ['sig', BYTES],
    ['sig=1', BYTES],
    ['sig=("@method"', BYTES],
    ['sig=("@method";req)', BYTES],
    ['sig=("x-dict";key="a")', BYTES],
    ['sig=(date)', BYTES],
    ['sig=(:AAAA:)', BYTES],
    ['sig=("@method" "@method")', BYTES],
    ['sig=("@status")', BYTES],
    ['sig=("@signature-params")', BYTES],
    ['sig=("@query-param")', BYTES],
    ['sig=("Date")', BYTES],
    ['sig=("x-missing")', BYTES],
    ['sig=("")', BYTES],
    ['sig=("constructor")', BYTES],
    ['sig=("__proto__")', BYTES],
    ['sig=("@method")', ''],
    ['sig=("@method")', 'other=:AAAA:'],
    ['sig=("@method")', 'sig="AAAA"'],
    ['sig=("@method")', 'sig=AAAA'],
    ['sig=("@method")', 'sig=(:AAAA:)'],
    ['sig=("@method")', 'sig=:A*:'],
    ['a=("@method");keyid="x", b=("@method");keyid="y"', 'a=:AAAA:, b=:AAAA:'],
    ['a=("@method");keyid="ours", b=("@path");keyid="ours"', 'a=:AAAA:, b=:AAAA:'],
  ])('throws BadSignature for malformed or ambiguous fields: %s, %s', (input, signature) => {
    expect(() => read(input, signature)).toThrow(expect.objectContaining({ name: 'BadSignature' }));
  });

  test('rejects a target with a fragment, which a router could take for a query', () => {
    expect(() => read('sig=("@path")', BYTES, { target: '/a#b=c' })).toThrow(/fragment/);
  });
});

test('readDictionary: parses by RFC 9651 and returns null for malformed fields', () => {
  expect([...(readDictionary('a=1, b=2, a=3') ?? [])].map(([name, [value]]) => [name, value])).toEqual([
    ['a', 3],
    ['b', 2],
  ]);
  for (const none of ['a=', 'A=1', 'a=1,', 'a==1', '"a"', 'a=1 b=2', 'a="ä"']) expect(readDictionary(none)).toBeNull();
});
