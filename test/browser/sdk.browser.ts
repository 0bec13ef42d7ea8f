import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sharedApi } from '../support/api.js';
import { openPage } from './browser.js';

const SDK = fileURLToPath(new URL('../../sdk/', import.meta.url));

beforeAll(() => promisify(execFile)(process.execPath, ['scripts/build.js'], { cwd: SDK }));

test('quartermaster-client: requests, pages, digits, signatures and refusals in a browser', async () => {
  const user = await sharedApi().createUser();
  const page = await openPage('/');
  const dependency = createRequire(`${SDK}package.json`).resolve('openapi-fetch');
  // Serves the built modules at the origin of the console, with the dependency at an address instead of its name.
  await page.route('**/sdk/*', async (route) => {
    const name = new URL(route.request().url()).pathname.slice('/sdk/'.length);
    const path = name === 'openapi-fetch.js' ? dependency.replace(/\.cjs$/, '.mjs') : `${SDK}dist/esm/${name}`;
    const body = (await readFile(path, 'utf8')).replace(/'openapi-fetch'/g, `'./openapi-fetch.js'`);
    await route.fulfill({ contentType: 'text/javascript', body });
  });
  const seen = await page.evaluate(async (token) => {
    const url = (globalThis as any).location.origin as string;
    const { Quartermaster, isRefusal } = await import(`${url}/sdk/index.js`);
    const mine = new Quartermaster({ url, token });
    for (const value of ['one', 'two', 'three']) await mine.post('/v1/resources', { body: { value } });
    const values: string[] = [];
    for await (const { value } of mine.list('/v1/resources', { params: { query: { limit: 2 } } })) values.push(value);
    await mine.writeText('pi', '3.14159265358979323846');
    const { id, privateKey } = await mine.post('/v1/auth/signing-keys', { body: { name: 'browser' } });
    const signing = new Quartermaster({ url, signingKey: { id, privateKey } });
    const made = await signing.post('/v1/resources', { body: { value: 'signed' } });
    await signing.delete('/v1/resources/{id}', { params: { path: { id: made.id } } });
    const refused = await new Quartermaster({ url }).get('/v1/apis').catch((error: unknown) => error);
    return { values, pi: await mine.readText('pi'), isRefused: isRefusal(refused, 'unauthenticated') };
  }, user.accessToken);
  expect(seen).toEqual({ values: ['three', 'two', 'one'], pi: '3.14159265358979323846', isRefused: true });
});
