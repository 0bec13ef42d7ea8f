import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');

const document = read('SECURITY.md');

/** Test files named in SECURITY.md, with the test names quoted after each. */
const REFERENCES = [...document.matchAll(/`((?:test|src)\/[\w./-]+\.(?:test|spec)\.ts)`((?:(?::|,) "[^"]+")*)/g)].map(
  ([, file = '', names = '']) => ({ file, names: [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name) }),
);

/** OWASP ASVS 5.0.0: the number of items of each section at levels 1 and 2. */
const ASVS: Record<string, number> = {
  ...{ 1.1: 2, 1.2: 9, 1.3: 11, 1.4: 3, 1.5: 2, 2.1: 3, 2.2: 3, 2.3: 4, 2.4: 1 },
  ...{ 3.2: 2, 3.3: 4, 3.4: 6, 3.5: 5, 3.7: 2, 4.1: 3, 4.2: 1, 4.3: 2, 4.4: 4 },
  ...{ 5.1: 1, 5.2: 3, 5.3: 2, 5.4: 3, 6.1: 3, 6.2: 12, 6.3: 4, 6.4: 4, 6.5: 5 },
  ...{ 6.6: 3, 6.8: 4, 7.1: 3, 7.2: 4, 7.3: 2, 7.4: 5, 7.5: 2, 7.6: 2, 8.1: 2 },
  ...{ 8.2: 3, 8.3: 1, 8.4: 1, 9.1: 3, 9.2: 4, 11.1: 2, 11.2: 3, 11.3: 3 },
  ...{ 11.4: 4, 11.5: 1, 11.6: 1, 12.1: 3, 12.2: 2, 12.3: 4, 13.1: 1, 13.2: 5 },
  ...{ 13.3: 2, 13.4: 5, 14.1: 2, 14.2: 4, 14.3: 3, 15.1: 3, 15.2: 3, 15.3: 7 },
  ...{ 16.1: 1, 16.2: 5, 16.3: 4, 16.4: 3, 16.5: 3 },
};

/** Whether a file has a `test` or `describe` with that name. */
function hasTest(file: string, name: string): boolean {
  const written = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`\\(\\s*(['"\`])${written}\\1,`).test(read(file));
}

describe('SECURITY.md', () => {
  test('names only existing test files and tests', () => {
    expect(REFERENCES.length).toBeGreaterThan(100);
    const files = [...new Set(REFERENCES.map(({ file }) => file))];
    expect(files.filter((file) => !existsSync(`${ROOT}${file}`))).toEqual([]);
    const missing = REFERENCES.flatMap(({ file, names }) =>
      names.filter((name) => !hasTest(file, name)).map((name) => `${file}: ${name}`),
    );
    expect([...new Set(missing)]).toEqual([]);
  });

  test('quotes test names only after a test file', () => {
    const quoted = [...document.matchAll(/[:,;] "([^"]+)"/g)].map(([, name = '']) => name);
    const known = new Set(REFERENCES.flatMap(({ names }) => names));
    expect(quoted.filter((name) => !known.has(name))).toEqual(['Report a\nvulnerability']);
  });

  test('covers every ASVS item of levels 1 and 2 exactly once, except for whole chapters', () => {
    const [, chapter = ''] = document.split('## OWASP ASVS 5.0');
    const said = [...chapter.matchAll(/(?<![\d.])(\d+\.\d+\.\d+)(?![\d.]\d)/g)].map(([, id = '']) => id).sort();
    const wanted = Object.entries(ASVS).flatMap(([section, count]) =>
      Array.from({ length: count }, (_, i) => `${section}.${i + 1}`),
    );
    expect(said).toEqual(wanted.sort());
    expect(chapter).toContain('OAuth (chapter 10)');
    expect(chapter).toContain('WebRTC (chapter 17)');
  });

  test('lists all ten of the OWASP API Security Top 10', () => {
    const risks = [...document.matchAll(/^\| API(\d+) /gm)].map(([, number]) => Number(number));
    expect(risks).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('is linked from the README', () => {
    expect(read('README.md')).toContain('](SECURITY.md)');
  });
});
