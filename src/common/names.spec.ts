import { faultOfUsername, isEmailAddress, loginKey, loginKeyPrefix } from './names.js';

/** Each line lists spellings of the same name. */
const SAME: [what: string, ...spellings: string[]][] = [
  ['case', 'ada@example.com', 'ADA@EXAMPLE.COM', 'aDa@Example.cOm'],
  ['ß', 'straße@x.example', 'STRASSE@x.example', 'strasse@x.example', 'STRAẞE@x.example', 'straſſe@x.example'],
  ['sigma', 'νικος.παπας@x.example', 'ΝΙΚΟΣ.ΠΑΠΑΣ@x.example', 'νικοσ.παπασ@x.example'],
  ['İ', 'İzmir@x.example', 'i\u0307zmir@x.example', 'I\u0307ZMIR@x.example'],
  ['the Kelvin sign', 'k@x.example', 'K@x.example', '\u212a@x.example'],
  ['the Ångström sign', 'å@x.example', '\u212b@x.example', 'a\u030a@x.example'],
  ['Cherokee', 'ꮳꮃꭹ@x.example', 'ᏣᎳᎩ@x.example', 'Ꮳꮃꭹ@x.example'],
  ['accents', 'e\u0301\u0323@x.example', 'e\u0323\u0301@x.example', '\u1eb9\u0301@x.example', 'É\u0323@x.example'],
  ['Hangul', '김@x.example', '\u1100\u1175\u11b7@x.example'],
  ['iota subscript', 'ᾳ@x.example', 'ᾼ@x.example', 'αι@x.example', 'α\u0345@x.example'],
  ['the domain', 'a@münchen.example', 'a@MÜNCHEN.example', 'a@mu\u0308nchen.example', 'a@XN--mnchen-3ya.EXAMPLE'],
  ['sigma in the domain', 'a@νικος.example', 'a@ΝΙΚΟΣ.example', 'a@νικοσ.example', 'a@xn--uxachkp.example'],
  ['usernames', 'Ada', 'ADA', 'ada'],
  ['extended usernames', 'John.Doe-x_y', 'john.doe-X_Y'],
];

/** Similar names that differ. */
const DIFFERENT: [what: string, one: string, other: string][] = [
  ['ı and i', 'ı@x.example', 'i@x.example'],
  ['ı and I', 'ı@x.example', 'I@x.example'],
  ['İ and i', 'İ@x.example', 'i@x.example'],
  ['fullwidth letters', 'ａda@x.example', 'ada@x.example'],
  ['ligatures', 'ﬁ@x.example', 'ｆｉ@x.example'],
  ['an accent', 'é@x.example', 'e@x.example'],
  ['Cyrillic', 'аda@x.example', 'ada@x.example'],
  ['ß in the domain, which is another domain', 'a@straße.example', 'a@strasse.example'],
  ['a dot', 'j.doe@x.example', 'jdoe@x.example'],
  ['a tag', 'ada+x@x.example', 'ada@x.example'],
];

/** Texts that cannot be a name. */
const NO_NAMES: string[] = [
  ...[
    '',
    ' ',
    'a',
    'me',
    'ME',
    'ada ',
    ' ada',
    'ada\n',
    'ad\u00e1',
    '\u212aate',
    'ａda',
    'ada\u00ad',
    'ad\u200ba',
    'ada\u0000',
  ],
  ...['a..b', '.ab', 'ab.', 'a__b', '-ab', 'ab-', 'a/b', 'a%20b', 'x'.repeat(65), '*', 'ada\ud800'],
  '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c',
  '019aa5d2_7c1e_7b1a_9d54_3f0f5a1f2b3c',
  ...[
    '/x',
    '?x',
    '#x',
    ':80',
    '\\x',
    '.',
    '/',
    '@',
    '%2Fx',
    ' ',
    '\t',
    '\n',
    '\u00a0',
    '\u00ad',
    '\u200b',
    '\ufeff',
    '\0',
  ].map((end) => `bob@example.com${end}`),
  ...['bob@x@example.com', 'x/bob@example.com@', '@example.com', 'bob@', 'bob@localhost', 'bob@127.0.0.1', 'bob@[::1]'],
  ...['bob@0x7f.1', 'bob@example.\u00b2\u00b2', 'bob@\u2460.\u2461', 'bob@ex%61mple.com', 'bob@example\u3002com'],
  ...['bob@ｅxample.com', 'bob@exam\u00adple.com', 'bob@exam\u200cple.com', 'bob@xn--example-.com', 'bob@xn--a.com'],
  ...[
    'bob@\u33c2.com',
    'bob@a\u2100b.com',
    'bob@-example.com',
    'bob@exa_mple.com',
    'bob@.example.com',
    'bob@example..com',
  ],
  ...[
    'b\u00adob@example.com',
    'b\u200bob@example.com',
    'b\u034fob@example.com',
    'b\ufe0fob@example.com',
    'b\u3164ob@example.com',
  ],
  ...[
    'b ob@example.com',
    'b\u3000ob@example.com',
    '"bob"@example.com',
    'bob\u0378@example.com',
    'bob\ud800@example.com',
  ],
  `${'ü'.repeat(63)}@${'ü'.repeat(60)}.example.com`,
  `${'x'.repeat(65)}@example.com`,
  `bob@${'x'.repeat(250)}.com`,
];

describe('loginKey', () => {
  test.each(SAME)('spellings that differ in %s: same key', (_what, ...spellings) => {
    const keys = new Set(spellings.map(loginKey));
    expect([...keys]).toEqual([expect.any(String)]);
    const [key] = [...keys] as string[];
    expect(loginKey(key!)).toBe(key);
  });

  test.each(DIFFERENT)('names that differ in %s: different keys', (_what, one, other) => {
    expect(loginKey(one)).toEqual(expect.any(String));
    expect(loginKey(other)).toEqual(expect.any(String));
    expect(loginKey(one)).not.toBe(loginKey(other));
  });

  test('text that cannot be a name: null', () => {
    expect(NO_NAMES.filter((text) => loginKey(text) !== null)).toEqual([]);
    expect(NO_NAMES.filter(isEmailAddress)).toEqual([]);
  });

  test('key of a key: unchanged, for every letter', () => {
    const wrong: string[] = [];
    for (let code = 0x80; code < 0x1_0000; code++) {
      const key = loginKey(`${String.fromCodePoint(code)}@x.example`);
      if (key !== null && loginKey(key) !== key) wrong.push(code.toString(16));
    }
    expect(wrong).toEqual([]);
  });
});

describe('loginKeyPrefix', () => {
  test('prefix of a name: returns a prefix of the key of the name', () => {
    // Excludes `xn--…`, where only whole labels have a meaning, and ends before an accent, which would change the
    // letter.
    const spellings = SAME.flatMap(([, ...names]) => names).filter((name) => !/xn--/i.test(name));
    for (const spelling of spellings) {
      const chars = [...spelling];
      const ends = chars.map((_char, i) => i + 1).filter((end) => !/[\p{M}\u1160-\u11ff]/u.test(chars[end] ?? ''));
      for (const start of ends.map((end) => chars.slice(0, end).join(''))) {
        const isStart = loginKey(spelling)?.startsWith(loginKeyPrefix(start) ?? 'none');
        expect({ start, isStart }).toEqual({ start, isStart: true });
      }
    }
  });

  test.each([
    ['a@münchen', 'a@münchen'],
    ['A@MÜN', 'a@mün'],
    ['a@xn--mnchen-3ya.ex', 'a@münchen.ex'],
    ['a@1', 'a@1'],
    ['a@x.', 'a@x.'],
    ['a@a-', 'a@a-'],
    ['@', '@'],
    ['a%_\\', 'a%_\\'],
  ])('%s: returns %s', (text, key) => {
    expect(loginKeyPrefix(text)).toBe(key);
  });

  test.each(['a@b@', 'a\u00adb', 'a@exam\u00adple', 'a@a/b.c', 'a@a..b', 'a\0', '\ud800', 'a b', '"a'])(
    '%j, which no name begins with: null',
    (text) => {
      expect(loginKeyPrefix(text)).toBeNull();
    },
  );
});

describe('faultOfUsername', () => {
  test.each([
    ['strict', 'ada1843', undefined],
    ['strict', 'john.doe', 'must have 2 to 64 letters and digits (A–Z, a–z, 0–9)'],
    ['extended', 'john.doe', undefined],
    ['extended', 'j-o_h.n', undefined],
    ['extended', 'me', 'must not be "me"'],
    ['strict', 'ME', 'must not be "me"'],
    ['extended', '019AA5D2-7c1e-7b1a-9d54-3f0f5a1f2b3c', 'must not have the form of an id'],
    ['extended', '019aa5d2.7c1e.7b1a.9d54.3f0f5a1f2b3c', 'must not have the form of an id'],
    ...['.john', 'john.', 'jo..hn', 'jo._hn', 'john@doe', 'x', 'x'.repeat(65), 'jöhn', '..'].map(
      (name) =>
        ['extended', name, expect.stringMatching(/^must have 2 to 64 letters and digits .* between them$/)] as const,
    ),
  ] as const)('policy "%s", username %s', (policy, name, fault) => {
    expect(faultOfUsername(name, policy)).toEqual(fault);
  });
});
