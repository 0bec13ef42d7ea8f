import fc from 'fast-check';
import { Secrets } from '../config/secrets.js';
import { Cursors, mapPage } from './page.js';
import { Problem } from './problem.js';
import { PROPERTY, SEED } from '../../test/support/sizes.js';

const cursors = new Cursors(new Secrets('a secret of thirty-two characters'));
const LIST = 'resources?owner=*';

const refusal = (list: string, cursor: string): unknown => {
  try {
    return cursors.open(list, cursor);
  } catch (error) {
    return error instanceof Problem ? error.extra.errors : error;
  }
};

const REFUSED = [{ pointer: '/cursor', detail: 'is not a cursor of this list' }];

describe('Cursors.open', () => {
  test(`any sealed position: returned unchanged (SEED=${SEED})`, () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (position, list) => {
        expect(cursors.open(list, cursors.seal(list, position))).toBe(position);
      }),
      PROPERTY,
    );
  });

  test('any flipped bit: validation_failed', () => {
    const sealed = Buffer.from(cursors.seal(LIST, '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c'), 'base64url');
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const forged = Buffer.from(sealed);
      forged[bit >> 3]! ^= 1 << (bit & 7);
      expect(refusal(LIST, forged.toString('base64url'))).toEqual(REFUSED);
    }
  });

  test('any other encoding of a valid cursor: validation_failed', () => {
    // 8 bytes of MAC and 2 of position: the last character has unused bits.
    const cursor = cursors.seal(LIST, 'ab');
    expect(cursors.open(LIST, cursor)).toBe('ab');
    const last = cursor.slice(0, -1);
    const variants = [
      `${cursor}=`,
      `${cursor}==`,
      ` ${cursor}`,
      `${cursor}!`,
      last,
      `${cursor}A`,
      cursor.toLowerCase(),
    ];
    for (const letter of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_') {
      if (last + letter !== cursor) variants.push(last + letter);
    }
    for (const variant of variants) expect(refusal(LIST, variant)).toEqual(REFUSED);
  });

  test.each(['', 'A', 'AAAAAAAAAA', 'AAAAAAAAAAA', 'not a cursor', '\0', '💥'])(
    'text that is not a cursor: validation_failed: %j',
    (cursor) => {
      expect(refusal(LIST, cursor)).toEqual(REFUSED);
    },
  );

  test('cursor of another list or filter: validation_failed', () => {
    const cursor = cursors.seal('resources?owner=1', 'x');
    for (const list of ['resources?owner=2', 'resources?owner=', 'users?query=', '']) {
      expect(refusal(list, cursor)).toEqual(REFUSED);
    }
  });

  test('cursor of a platform with another secret: validation_failed', () => {
    const others = new Cursors(new Secrets('another secret of thirty-two letters'));
    expect(refusal(LIST, others.seal(LIST, 'x'))).toEqual(REFUSED);
  });

  test('boundary between list and position moved: validation_failed', () => {
    expect(refusal('user', cursors.seal('users', 'x'))).toEqual(REFUSED);
    const moved = Buffer.from(cursors.seal('a', 'bc'), 'base64url').subarray(0, 8);
    expect(refusal('ab', Buffer.concat([moved, Buffer.from('c')]).toString('base64url'))).toEqual(REFUSED);
  });
});

describe('pages', () => {
  test('Cursors.page: has a cursor only if there is a next row', () => {
    const page = cursors.page(LIST, ['c', 'b', 'a'], 2, (row) => row);
    expect(page.data).toEqual(['c', 'b']);
    expect(cursors.open(LIST, page.nextCursor ?? '')).toBe('b');
    expect(cursors.page(LIST, ['c', 'b'], 2, (row) => row)).toEqual({ data: ['c', 'b'], nextCursor: null });
    expect(cursors.page(LIST, [], 2, String)).toEqual({ data: [], nextCursor: null });
  });

  test('mapPage: maps the items and keeps the cursor', () => {
    expect(mapPage({ data: [1, 2], nextCursor: 'x' }, String)).toEqual({ data: ['1', '2'], nextCursor: 'x' });
  });
});
