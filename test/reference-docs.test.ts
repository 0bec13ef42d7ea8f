import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PROBLEMS } from '../src/common/problem.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');

/** Statuses besides that of the table PROBLEMS: a throw may override it, or Node rejects what is not HTTP. */
const FURTHER_STATUSES: Record<string, number[]> = { quota_exceeded: [429], validation_failed: [408, 431] };

describe('docs/configuration.md', () => {
  test('is what src/config/env.ts says', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/configuration.js', '--check'], {
      ...{ cwd: ROOT, encoding: 'utf8' },
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});

describe('docs/api.md', () => {
  test('table of codes: every code of the API with its statuses, and no other', () => {
    const listed = [...read('docs/api.md').matchAll(/^\| ([\d, ]+) +\| `(\w+)` /gm)].map(
      ([, statuses = '', code = '']) => [code, statuses.split(',').map(Number)] as const,
    );
    const wanted = Object.entries(PROBLEMS).map(
      ([code, [status]]) => [code, [status, ...(FURTHER_STATUSES[code] ?? [])].sort()] as const,
    );
    expect(listed.map(([code]) => code)).toHaveLength(new Set(listed.map(([code]) => code)).size);
    expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(wanted));
  });

  test('table of codes: has the statuses that the OpenAPI document shows', () => {
    const pairs = new Set<string>();
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      const { code, status } = value as { code?: unknown; status?: unknown };
      if (typeof code === 'string' && code in PROBLEMS && typeof status === 'number') pairs.add(`${status} ${code}`);
      Object.values(value).forEach(visit);
    };
    visit(JSON.parse(read('docs/openapi.json')));
    // `denyStatus` of /v1/forward-auth replaces the status.
    pairs.delete('401 quota_exceeded');
    expect(pairs.size).toBeGreaterThan(20);
    const table = new Set(
      Object.entries(PROBLEMS).flatMap(([code, [status]]) =>
        [status, ...(FURTHER_STATUSES[code] ?? [])].map((each) => `${each} ${code}`),
      ),
    );
    expect([...pairs].filter((pair) => !table.has(pair))).toEqual([]);
  });
});
