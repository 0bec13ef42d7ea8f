import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');

const PAGES = ['docs/security.md', 'docs/hardening.md', 'docs/asvs.md'];

/** Test files that a text links to. */
function linkedTests(text: string): string[] {
  return [...text.matchAll(/\]\(\.\.\/((?:test|src)\/[\w./-]+\.(?:test|spec)\.ts)\)/g)].map(([, file = '']) => file);
}

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

describe('the security pages', () => {
  test('link only to existing test files', () => {
    const files = PAGES.flatMap((page) => linkedTests(read(page)));
    expect(files.length).toBeGreaterThan(100);
    expect(files.filter((file) => !existsSync(`${ROOT}${file}`))).toEqual([]);
  });

  test('docs/security.md: each promise links to a test', () => {
    const [, promises = ''] = /\n## Promises\n([^]*?)\n## /.exec(read('docs/security.md')) ?? [];
    const items = promises.split(/^- /m).slice(1);
    expect(items.length).toBeGreaterThan(20);
    expect(items.filter((item) => linkedTests(item).length === 0)).toEqual([]);
  });

  test('docs/asvs.md: covers every ASVS item of levels 1 and 2 exactly once, except for whole chapters', () => {
    const [, chapter = ''] = read('docs/asvs.md').split('\n## ASVS 5.0');
    // An explanation may name an item, but only the first cell lists it.
    const listed = chapter.replaceAll(/^\|([^|]*)\|.*$/gm, '$1');
    const ids = [...listed.matchAll(/(?<![\d.])(\d+\.\d+\.\d+)(?![\d.]\d)/g)].map(([, id = '']) => id);
    const wanted = Object.entries(ASVS).flatMap(([section, count]) =>
      Array.from({ length: count }, (_, i) => `${section}.${i + 1}`),
    );
    expect(ids.sort()).toEqual(wanted.sort());
    expect(chapter).toContain('OAuth (chapter 10)');
    expect(chapter).toContain('WebRTC (chapter 17)');
  });

  test('docs/asvs.md: lists all ten of the OWASP API Security Top 10', () => {
    const risks = [...read('docs/asvs.md').matchAll(/^\| API(\d+) /gm)].map(([, number]) => Number(number));
    expect(risks).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('SECURITY.md: links to them, and the README to it', () => {
    const policy = read('SECURITY.md');
    expect(PAGES.filter((page) => !policy.includes(`](${page})`))).toEqual([]);
    expect(read('README.md')).toContain('](SECURITY.md)');
  });
});
