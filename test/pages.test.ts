import { Api, expectProblem, sharedApi, type Answer } from './support/api.js';
import { TestServer, createDatabase } from './support/server.js';

const api = sharedApi();

/** The Accept header of browsers. */
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8';

const accepting = (accept: string) => ({ headers: { accept } });

/** Checks for a complete HTML page whose policy allows no script. */
function expectPage(answer: Answer, status: number): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect(answer.text).toMatch(/^<!doctype html>[^]*<meta name="viewport"[^]*<\/html>\n$/);
  expect(answer.text).not.toContain('<script');
  const policy = answer.headers.get('content-security-policy');
  expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-/);
  expect(policy).not.toMatch(/script-src|unsafe/);
  expect(answer.headers.get('vary')).toMatch(/\baccept\b/);
}

describe('GET /', () => {
  test.each(['*/*', 'application/json', 'application/json, text/html', 'text/html;q=0, */*', 'text/html;q=0.5, */*'])(
    '200 with JSON links when Accept is "%s"',
    async (accept) => {
      const answer = await api.get('/', accepting(accept));
      expect({ status: answer.status, body: answer.body }).toEqual({
        status: 200,
        body: {
          name: 'Quartermaster',
          version: expect.stringMatching(/^\d+\.\d+\.\d+/),
          ...{ docs: '/docs', openapi: '/openapi.json', console: '/console', health: '/readyz' },
        },
      });
      expect(answer.headers.get('vary')).toMatch(/\baccept\b/);
    },
  );

  test('JSON links lead to existing paths', async () => {
    const { docs, openapi, health } = (await api.get('/')).body;
    for (const path of [docs, openapi, health]) expect((await api.get(path)).status).toBe(200);
  });

  test.each([BROWSER, 'text/html', 'text/*', 'text/html, application/json;q=0.9'])(
    '303 to /console when Accept is "%s"',
    async (accept) => {
      for (const method of ['GET', 'HEAD']) {
        const answer = await api.send(method, '/', undefined, accepting(accept));
        expect({ status: answer.status, location: answer.headers.get('location'), text: answer.text }).toEqual({
          ...{ status: 303, location: '/console', text: '' },
        });
        expect(answer.headers.get('vary')).toMatch(/\baccept\b/);
      }
    },
  );
});

describe('an unknown path', () => {
  test.each(['/nothing', '/v1/nothing', '/docs/nothing', '/docs/../nothing', '/%3Cscript%3E'])(
    '404 with an HTML page for a browser: %s',
    async (path) => {
      const answer = await api.get(path, accepting(BROWSER));
      expectPage(answer, 404);
      expect(answer.text).not.toContain('script');
      expect((await api.send('HEAD', path, undefined, accepting(BROWSER))).status).toBe(404);
    },
  );

  test.each(['*/*', 'application/json', 'application/problem+json', 'application/json, text/html'])(
    '404 with a problem document when Accept is "%s"',
    async (accept) => {
      expectProblem(await api.get('/nothing', accepting(accept)), 404, 'not_found');
    },
  );

  test('other methods and API errors: a problem document, also for a browser', async () => {
    const user = await api.createUser();
    expectProblem(await api.post('/nothing', {}, accepting(BROWSER)), 404, 'not_found');
    expectProblem(await api.as(user).get('/v1/apis/nothing', accepting(BROWSER)), 404, 'not_found');
    expectProblem(await api.get('/v1/users/me', accepting(BROWSER)), 401, 'unauthenticated');
    expectProblem(await api.delete('/v1/users', accepting(BROWSER)), 405, 'method_not_allowed');
  });

  test('Vary lists Accept and Origin when CORS is on', async () => {
    const database = await createDatabase();
    const origin = 'https://app.example';
    const server = await TestServer.start({ DATABASE_URL: database.url, CORS_ORIGINS: origin });
    try {
      const { headers } = await new Api(server.url).get('/', { headers: { accept: BROWSER, origin } });
      expect(headers.get('vary')!.toLowerCase().split(/, */)).toEqual(expect.arrayContaining(['accept', 'origin']));
      expect(headers.get('access-control-allow-origin')).toBe(origin);
    } finally {
      await server.stop();
      await database.drop();
    }
  });
});
