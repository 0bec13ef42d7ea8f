// Coverage of a test run: what V8 has seen in Jest (unit tests) and in every process that the tests start (the built
// program), brought back to the TypeScript sources and added up.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import coverage from 'istanbul-lib-coverage';
import report from 'istanbul-lib-report';
import reports from 'istanbul-reports';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const C8 = join(ROOT, 'node_modules', 'c8', 'bin', 'c8.js');

/** What the sources are, apart from their tests. */
const SOURCES = /\/src\/.*(?<!\.spec)\.ts$/;

/**
 * Runs the tests and prints, for each file, which lines did not run; `coverage/` has the same as HTML.
 * @param {(cover: { args: string[], env: Record<string, string> }) => Promise<number>} runTests
 * @returns {Promise<number>} exit code of the tests
 */
export async function runWithCoverage(runTests) {
  const folder = mkdtempSync(join(tmpdir(), 'quartermaster-coverage-'));
  try {
    const raw = join(folder, 'raw');
    const ofJest = join(folder, 'jest');
    const ofServers = join(folder, 'servers');
    const code = await runTests({
      args: ['--coverage', '--coverageProvider=v8', '--coverageReporters=json', `--coverageDirectory=${ofJest}`],
      env: { TEST_COVERAGE_FOLDER: raw },
    });
    const options = [
      '--include=dist/src/**',
      '--reporter=json',
      `--temp-directory=${raw}`,
      `--reports-dir=${ofServers}`,
    ];
    spawnSync(process.execPath, [C8, 'report', ...options], { cwd: ROOT, stdio: 'inherit' });
    const map = coverage.createCoverageMap({});
    for (const file of [ofJest, ofServers].map((each) => join(each, 'coverage-final.json'))) {
      if (existsSync(file)) map.merge(JSON.parse(readFileSync(file, 'utf8')));
    }
    map.filter((file) => SOURCES.test(file));
    const context = report.createContext({ dir: join(ROOT, 'coverage'), coverageMap: map });
    reports.create('text', { skipFull: true }).execute(context);
    reports.create('html').execute(context);
    return code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
