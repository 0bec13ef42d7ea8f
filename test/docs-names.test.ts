import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { variables } from '../src/config/env.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');

/** The pages for users and operators, by path. Decisions also tell of the past; the commands of the README are run. */
const PAGES = new Map(
  readdirSync(`${ROOT}docs`, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md') && !path.startsWith('decisions'))
    .map((path) => `docs/${path}`)
    .map((path) => [path, read(path)]),
);

/** Matches of a pattern in the pages that are not known, as `page: match`. */
function unknown(pattern: RegExp, isKnown: (match: RegExpMatchArray) => boolean): string[] {
  return [...PAGES].flatMap(([page, text]) =>
    [...text.matchAll(pattern)].filter((match) => !isKnown(match)).map(([match]) => `${page}: ${match}`),
  );
}

const inClone = existsSync(`${ROOT}.git`) ? describe : describe.skip;

inClone('a clone', () => {
  test('git ignores the files that the documented commands write', () => {
    // They hold passwords, the secret key or personal data.
    const files = ['users.csv', 'users.csv.progress', 'ada.ndjson', 'quartermaster.backup', 'restored/secret-key'];
    const { stdout } = spawnSync('git', ['check-ignore', '--no-index', ...files], { cwd: ROOT, encoding: 'utf8' });
    expect(stdout.trim().split('\n')).toEqual(files);
  });
});

/** What the pages name exists. */
describe('the documentation names only', () => {
  test('routes of the OpenAPI document', () => {
    const { paths } = JSON.parse(read('docs/openapi.json')) as { paths: Record<string, Record<string, unknown>> };
    const routes = Object.entries(paths).map(([path, operations]) => ({
      pattern: new RegExp(`^${path.replaceAll(/[.*]/g, '\\$&').replaceAll(/\{\w+\}/g, '[^/]+')}$`),
      methods: Object.keys(operations),
    }));
    const named = /\b(GET|POST|PUT|PATCH|DELETE) (\/v1\/[^\s`?"|)]*[^\s`?"|).,:])/g;
    expect(
      unknown(named, ([, method = '', path = '']) =>
        routes.some(({ pattern, methods }) => pattern.test(path) && methods.includes(method.toLowerCase())),
      ),
    ).toEqual([]);
  });

  test('commands of the command line', () => {
    const files = readdirSync(`${ROOT}src/cli/commands`, { recursive: true, encoding: 'utf8' });
    const commands = files.map((file) => file.replace('.ts', '').replace(/[\\/]/, '-'));
    const groups = new Set(commands.map((command) => command.split('-')[0]));
    // In code only: `quartermaster` is also the name of the product, a role and a database.
    const named = /(?:^|`|-- |app |\/quartermaster\.js )quartermaster ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?/gm;
    expect(
      unknown(
        named,
        ([, one = '', two = '']) =>
          commands.includes(one) || commands.includes(`${one}-${two}`) || (two === '' && groups.has(one)),
      ),
    ).toEqual([]);
  });

  test('metrics of the server', () => {
    const source = read('src/metrics/prometheus.ts');
    expect(
      unknown(/\bquartermaster_([a-z][a-z_]*[a-z\d])/g, ([, name = '']) => {
        const base = name.replace(/_(?:bucket|sum|count)$/, '');
        return /^(?:nodejs|process)_/.test(name) || source.includes(`'${base}'`);
      }),
    ).toEqual([]);
  });

  test('environment variables of the server, or of others', () => {
    const others = ['NODE_EXTRA_CA_CERTS', 'NODE_ENV', 'POSTGRES_PASSWORD', 'TEST_DATABASE_URL'];
    const ofCommands = read('src/cli/api.ts').match(/QUARTERMASTER_[A-Z_]+/g) ?? [];
    const ofExamples = ['KEY_ID', 'PRIVATE_KEY', 'PUBLIC_KEY', 'IDEMPOTENCY_KEY', 'GRAFANA_PASSWORD'];
    const known = [...variables(), ...others, ...ofCommands, ...ofExamples];
    expect(unknown(/(?<=`)[A-Z][A-Z\d]*(?:_[A-Z\d]+)+(?=[`=])/g, ([name]) => known.includes(name))).toEqual([]);
  });
});
