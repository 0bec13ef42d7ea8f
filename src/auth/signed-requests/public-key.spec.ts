import { generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto';
import { keyObjectOf, parsePublicKey, toPem } from './public-key.js';

const PRIVATE = /private/;

function der(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: key.type === 'private' ? 'pkcs8' : 'spki' } as never) as unknown as Buffer;
}

function pem(key: KeyObject): string {
  return key.export({ format: 'pem', type: key.type === 'private' ? 'pkcs8' : 'spki' } as never) as unknown as string;
}

describe('parsePublicKey', () => {
  test('accepts every form of a key and returns the same bytes', () => {
    for (let i = 0; i < 5; i++) {
      const { publicKey, privateKey } = generateKeyPairSync('ed25519');
      const jwk = publicKey.export({ format: 'jwk' });
      const bytes = Buffer.from(jwk.x!, 'base64url');
      const forms = [
        ...[pem(publicKey), pem(publicKey).trim(), `\n${pem(publicKey).replaceAll('\n', '\r\n')}\r\n`],
        ...[jwk, { ...jwk, kid: 'x', use: 'sig' }, JSON.stringify(jwk), JSON.stringify(jwk, null, 2)],
        ...[bytes, der(publicKey)].flatMap((each) => [
          each.toString('base64'),
          each.toString('base64').replace(/=+$/, ''),
          each.toString('base64url'),
        ]),
      ];
      for (const form of forms) expect(parsePublicKey(form)).toEqual(bytes);
      expect(toPem(bytes)).toBe(pem(publicKey));
      expect(verify(null, Buffer.from('x'), keyObjectOf(bytes), sign(null, Buffer.from('x'), privateKey))).toBe(true);
    }
  });

  test('rejects a private key with a message that does not repeat it', () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const jwk = privateKey.export({ format: 'jwk' });
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const nacl = Buffer.concat([Buffer.from(jwk.d!, 'base64url'), Buffer.from(jwk.x!, 'base64url')]);
    const forms = [
      ...[pem(privateKey), jwk, JSON.stringify(jwk), der(privateKey).toString('base64'), nacl.toString('base64')],
      ...[der(privateKey).toString('base64url'), pem(ec), ec.export({ format: 'jwk' }), { kty: 'oct', k: 'AA' }],
      ec.export({ format: 'der', type: 'sec1' }).toString('base64'),
      '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----',
      pem(privateKey).replaceAll('\n', ''),
    ];
    for (const form of forms) {
      expect(() => parsePublicKey(form)).toThrow(PRIVATE);
      expect(() => parsePublicKey(form)).not.toThrow(jwk.d);
    }
  });

  test('rejects a key with bytes after it', () => {
    const key = der(generateKeyPairSync('ed25519').publicKey);
    for (const more of [Buffer.alloc(1), Buffer.alloc(32, 7)]) {
      expect(() => parsePublicKey(Buffer.concat([key, more]).toString('base64'))).toThrow(/bytes after/);
    }
  });

  test.each([
    ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey],
    ['P-256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey],
    ['X25519', generateKeyPairSync('x25519').publicKey],
    ['Ed448', generateKeyPairSync('ed448').publicKey],
  ])('rejects a key of another type: %s', (_name, key) => {
    const jwk = key.export({ format: 'jwk' });
    for (const form of [pem(key), jwk, JSON.stringify(jwk), der(key).toString('base64')]) {
      expect(() => parsePublicKey(form)).toThrow(/Ed25519/);
    }
  });

  // libsodium's list (ge25519_has_small_order), and other encodings of those points, with either sign.
  test.each([
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ])('rejects a point of small order: %s', (hex) => {
    for (const sign of [0, 0x80]) {
      const bytes = Buffer.from(hex, 'hex');
      bytes[31]! |= sign;
      expect(() => parsePublicKey(bytes.toString('base64'))).toThrow(/prime order/);
    }
  });

  test('rejects bytes that encode no point, and a point of mixed order', () => {
    // No point has y = 2. The other is the base point plus the point of order 2: −x, −y.
    const none = Buffer.alloc(32);
    none[0] = 2;
    const base = Buffer.from(`58${'66'.repeat(31)}`, 'hex');
    const y = BigInt(`0x${Buffer.from(base).reverse().toString('hex')}`);
    const mixed = Buffer.from((2n ** 255n - 19n - y).toString(16).padStart(64, '0'), 'hex').reverse();
    expect(parsePublicKey(base.toString('base64'))).toEqual(base);
    for (const sign of [0, 0x80]) {
      mixed[31]! |= sign;
      for (const bytes of [none, mixed]) expect(() => parsePublicKey(bytes.toString('base64'))).toThrow(/prime order/);
    }
  });

  test.each([
    ...['', 'x', '{', '{}', '[]', 'null', 'AAAA', 'A'.repeat(43), `${'A'.repeat(42)}B`, '='.repeat(44), 'é'.repeat(43)],
    ...['-----BEGIN PUBLIC KEY-----', '-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----'],
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
    'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE',
    'A'.repeat(100_000),
    ...[undefined, null, 1, true, [], {}, ['x'], { kty: 'OKP' }, { kty: 'OKP', crv: 'Ed25519' }],
    ...[
      { kty: 'OKP', crv: 'Ed25519', x: 1 },
      { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' },
    ],
    { kty: 'OKP', crv: 'Ed25519', x: { length: 43 } },
  ])('rejects any other value (%#)', (given) => {
    expect(() => parsePublicKey(given)).toThrow(/^must /);
  });
});
