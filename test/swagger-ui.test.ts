import { Script } from 'node:vm';
import { expectProblem, isMetered, listOperations, openApiOf, sharedApi } from './support/api.js';

const api = sharedApi();

describe('GET /docs', () => {
  const METHODS = ['get', 'put', 'post', 'patch', 'delete'];

  async function shownOperations(): Promise<[id: string, operation: any][]> {
    const { paths } = (await api.get('/docs/page.json')).body;
    return Object.entries<object>(paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => METHODS.includes(method))
        .map(([method, operation]): [string, any] => [`${method.toUpperCase()} ${path}`, operation]),
    );
  }

  test('responsive page without inline scripts and styles', async () => {
    const { text, headers } = await api.get('/docs');
    expect(text).toContain('<meta name="viewport" content="width=device-width, initial-scale=1">');
    expect(headers.get('content-security-policy')).toContain("script-src 'self'");
    expect(text).not.toMatch(/<script>|<style>| on\w+=/);
    const files = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!);
    expect(files.length).toBeGreaterThan(4);
    for (const path of files) expect({ path, status: (await api.get(path)).status }).toEqual({ path, status: 200 });
  });

  test('page script: valid JavaScript that loads /docs/page.json', async () => {
    const { text } = await api.get('/docs/page.js');
    expect(() => new Script(text)).not.toThrow();
    expect(text).toContain('/docs/page.json');
  });

  test.each([
    '/docs/index.css',
    '/docs/swagger-initializer.js',
    '/docs/package.json',
    '/docs/index.js',
    '/docs/LICENSE',
  ])('404 for other files of the swagger-ui package: %s', async (path) => {
    expectProblem(await api.get(path), 404, 'not_found');
  });

  test('lists every operation, and /call once', async () => {
    const shown = (await shownOperations()).map(([id]) => id);
    const all = (await listOperations(api)).map(({ id }) => id);
    expect(shown).toEqual(
      all.filter((id) => !isMetered(id.split(' ')[1]!) || /^GET (\/call\/\{slug\}|\/v1\/forward-auth)$/.test(id)),
    );
  });

  test('declares one authentication scheme for each operation', async () => {
    const { components } = (await api.get('/docs/page.json')).body;
    const names = Object.keys(components.securitySchemes);
    expect(names).toEqual(['bearer', 'key']);
    for (const [id, { security }] of await shownOperations()) {
      expect({ id, count: security.length }).toEqual({ id, count: security.length === 0 ? 0 : 1 });
      expect(names).toEqual(expect.arrayContaining(security.flatMap(Object.keys)));
      expect(security.some((scheme: object) => 'key' in scheme)).toBe(isMetered(id.split(' ')[1]!));
    }
  });

  test('prefills no optional parameter, and describes the defaults', async () => {
    const optional = (await shownOperations()).flatMap(([id, { parameters = [] }]) =>
      parameters
        .filter((each: any) => each.required !== true)
        .map((each: any) => [`${id} ${each.name}`, each.example ?? each.schema.example ?? each.schema.default]),
    );
    expect(optional.length).toBeGreaterThan(50);
    expect(optional.filter(([, value]) => value !== undefined)).toEqual([]);
    const [, users] = (await shownOperations()).find(([id]) => id === 'GET /v1/users')!;
    expect(users.parameters.find((each: any) => each.name === 'limit').description).toContain('default: `50`');
  });

  test('shows the success response first, and collapses all errors', async () => {
    const { paths } = await openApiOf(api);
    for (const [id, { responses }] of await shownOperations()) {
      const [method = '', path = ''] = id.split(' ');
      expect(Object.keys(responses).filter((status) => /^[45]/.test(status))).toEqual([]);
      const { description } = responses.default;
      expect(description).toMatch(/<details><summary>Errors: 400, /);
      for (const [status, { content }] of Object.entries<any>(paths[path][method.toLowerCase()].responses)) {
        const codes = Object.keys(content?.['application/problem+json']?.examples ?? {});
        for (const code of codes) expect(description).toContain(`<li>${status} <code>${code}</code>`);
      }
    }
  });
});
