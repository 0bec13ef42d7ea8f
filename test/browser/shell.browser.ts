import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Api, sharedApi, uniqueName } from '../support/api.js';
import { createDatabase, TestServer } from '../support/server.js';
import { ADMIN, expectNoViolations, openPage, signIn } from './browser.js';

const DIST = new URL('../../console/dist/', import.meta.url);

/** What a first load may be, gzipped. */
const MAX_FIRST_LOAD = 250 * 1024;

test('an administrator signs in, sees the sections of an administrator, and signs out', async () => {
  const page = await openPage('/');
  await page.waitForURL('**/console/sign-in');
  await expectNoViolations(page);

  await signIn(page, ADMIN);
  await page.waitForURL('**/console/overview');
  expect(await page.title()).toBe('Overview – Quartermaster');
  const sections = page.getByRole('navigation', { name: 'Sections' });
  expect(await sections.getByRole('link').allTextContents()).toEqual([
    ...['Overview', 'Users', 'Plans', 'APIs', 'Platform', 'Audit', 'Export', 'Refusals'],
    ...['Usage', 'API keys', 'Store', 'Resources', 'Tasks', 'Account'],
  ]);
  await expectNoViolations(page);

  await page.reload();
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();

  await page.getByRole('button', { name: 'Your account: admin' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.waitForURL('**/console/sign-in');
  await page.goto('/console/users');
  await page.waitForURL('**/console/sign-in?next=%2Fconsole%2Fusers');
});

test('navigation by keyboard: the heading has the focus, and the palette finds pages and users', async () => {
  const page = await openPage('/users');
  await signIn(page, ADMIN);
  await page.waitForURL('**/console/users');
  await page.getByRole('link', { name: 'Plans' }).press('Enter');
  await page.waitForURL('**/console/plans');
  await page.locator('h1:focus', { hasText: 'Plans' }).waitFor();

  await page.keyboard.press('Control+k');
  await page.getByRole('textbox', { name: 'Search' }).fill('admin');
  await page.getByRole('button', { name: 'admin', exact: true }).waitFor();
  await expectNoViolations(page);
  await page.getByRole('textbox', { name: 'Search' }).fill('refus');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/console/refusals');
});

test('a session that ends elsewhere: the password is asked for over the page, and what was typed stays', async () => {
  // A page that does not refresh itself: the search must be the first request that fails.
  const page = await openPage('/plans');
  await signIn(page, ADMIN);
  await page.waitForURL('**/console/plans');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('textbox', { name: 'Search' }).fill('typed before');
  await page.evaluate(async () => {
    const { accessToken }: any = await (await fetch('/v1/auth/refresh', { method: 'POST' })).json();
    await fetch('/v1/auth/logout', { method: 'POST', headers: { authorization: `Bearer ${accessToken}` } });
  });
  await page.getByRole('textbox', { name: 'Search' }).fill('typed before and after');
  const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
  await dialog.waitFor();
  await expectNoViolations(page);
  await dialog.getByLabel('Password', { exact: true }).fill(ADMIN.password);
  await dialog.getByRole('button', { name: 'Sign in', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  expect(await page.getByRole('textbox', { name: 'Search' }).inputValue()).toBe('typed before and after');
});

test('a server that does not answer: a banner says so until it does', async () => {
  const page = await openPage('/users');
  await signIn(page, ADMIN);
  await page.waitForURL('**/console/users');
  await page.context().setOffline(true);
  await page.getByRole('link', { name: 'Plans' }).click();
  const banner = page.getByRole('status').filter({ hasText: 'The server cannot be reached' });
  await banner.waitFor();
  await expectNoViolations(page);
  await page.context().setOffline(false);
  await banner.waitFor({ state: 'detached' });
  await page.getByRole('table', { name: 'Plans' }).waitFor();
});

test('a killed server: what was typed stays, and is saved once the server runs again', async () => {
  const database = await createDatabase();
  const env = { DATABASE_URL: database.url, TRUST_PROXY: '127.0.0.1' };
  const killed = await TestServer.spawn(env);
  let restarted: TestServer | undefined;
  try {
    const page = await openPage('/plans?create=yes', { url: killed.url });
    await signIn(page, ADMIN);
    const dialog = page.getByRole('dialog', { name: 'New plan' });
    await dialog.getByLabel('Name').fill('Gold');
    await dialog.getByLabel('Slug').fill('gold');
    await killed.kill();
    await dialog.getByRole('button', { name: 'Create the plan' }).click();
    await dialog.getByText('The server cannot be reached').waitFor();
    const banner = page.getByText('The console tries again every few seconds.');
    await banner.waitFor();

    restarted = await TestServer.spawn({ ...env, PORT: new URL(killed.url).port });
    await banner.waitFor({ state: 'detached' });
    expect(await dialog.getByLabel('Name').inputValue()).toBe('Gold');
    await dialog.getByRole('button', { name: 'Create the plan' }).click();
    await page.getByRole('heading', { name: 'Gold', level: 1 }).waitFor();
    const admin = await new Api(restarted.url).admin();
    expect((await admin.get('/v1/plans/gold')).body).toMatchObject({ slug: 'gold', name: 'Gold' });
  } finally {
    await killed.stop();
    await restarted?.stop();
    await database.drop();
  }
});

test('dialogs by keyboard alone: opened, closed with Escape, and the focus returns', async () => {
  const page = await openPage('/plans');
  await signIn(page, ADMIN);
  // What opens a dialog or a menu on each page.
  const openers = [
    ['/plans', 'New plan', 'dialog'],
    ['/apis', 'New API', 'dialog'],
    ['/users', 'New user', 'dialog'],
    ['/platform', 'Set a quota', 'dialog'],
    ['/keys', 'Create a key', 'dialog'],
    ['/store', 'New entry', 'dialog'],
    ['/store', 'Import', 'dialog'],
    ['/resources', 'Create a resource', 'dialog'],
    ['/usage', 'Your account: admin', 'menu'],
    ['/usage', 'Search', 'dialog'],
    ['/usage', 'API requests', 'dialog'],
  ] as const;
  const returned: string[] = [];
  for (const [path, name, role] of openers) {
    await page.goto(`/console${path}`);
    const opener = page.getByRole('button', { name: new RegExp(`^${name}`) });
    await opener.focus();
    await page.keyboard.press('Enter');
    await page.getByRole(role).waitFor();
    // The focus is within, so that Tab reaches its fields.
    await page.locator(`[role=${role}] :focus, [role=${role}]:focus`).waitFor({ state: 'attached' });
    await page.keyboard.press('Escape');
    await page.getByRole(role).waitFor({ state: 'hidden' });
    await opener.and(page.locator(':focus')).waitFor();
    returned.push(name);
  }
  expect(returned).toEqual(openers.map(([, name]) => name));
});

test('API requests: what a page has asked, as commands without secrets', async () => {
  const page = await openPage('/users?create=yes');
  await signIn(page, ADMIN);
  const username = uniqueName();
  const form = page.getByRole('dialog', { name: 'New user' });
  await form.getByLabel('Username').fill(username);
  await form.getByLabel('Password', { exact: true }).fill('Unguessable-7');
  await form.getByRole('button', { name: 'Create the user' }).click();
  await page.getByRole('heading', { name: username, level: 1 }).waitFor();
  await page.goBack();
  await page.getByRole('heading', { name: 'Users', level: 1 }).waitFor();
  // A second request of the same path, with parameters.
  await page.getByLabel('Search users').fill(username);
  await page.getByRole('link', { name: username, exact: true }).waitFor();

  await page.keyboard.press('Control+k');
  await page.getByRole('textbox', { name: 'Search', exact: true }).fill('curl');
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('dialog', { name: 'API requests of this page' });
  const { url } = sharedApi();
  await drawer.getByRole('region', { name: `GET /v1/users?query=${username}` }).waitFor();
  await drawer.getByRole('region', { name: 'GET /v1/users' }).getByText(`curl '${url}/v1/users'`).waitFor();
  const command = await drawer.getByRole('region', { name: 'POST /v1/users' }).locator('pre').textContent();
  expect(command).toContain(`curl -X POST '${url}/v1/users'`);
  expect(command).toContain(`"username":"${username}"`);
  expect(command).toContain('"password":"…"');
  await expectNoViolations(page);
});

test('each component has its styles: src/mantine.css lists them', () => {
  const assets = new URL('assets/', DIST);
  const classesIn = (extension: string): Set<string> =>
    new Set(
      readdirSync(assets)
        .filter((name) => name.endsWith(extension))
        .flatMap((name) => readFileSync(new URL(name, assets), 'utf8').match(/\bm_[0-9a-f]{7,8}\b/g) ?? []),
    );
  const library = readFileSync(new URL('../../node_modules/@mantine/core/styles.css', import.meta.url), 'utf8');
  const styled = classesIn('.css');
  expect([...classesIn('.js')].filter((name) => library.includes(`.${name}`) && !styled.has(name))).toEqual([]);
});

test('the first load with the page of an administrator: at most 250 KB gzipped', async () => {
  const page = await openPage('/');
  const files = new Set<string>();
  page.on('request', (request) => files.add(new URL(request.url()).pathname));
  // The chart loads once there is something to draw, after the first load.
  await page.route('**/v1/metrics/series*', () => undefined);
  await signIn(page, ADMIN);
  await page.reload();
  await page.getByRole('heading', { level: 1 }).waitFor();
  const assets = [...files].filter((path) => path.startsWith('/console/assets/'));
  const sizes = assets.map(
    (path) => statSync(fileURLToPath(new URL(`${path.slice('/console/'.length)}.gz`, DIST))).size,
  );
  expect(sizes.length).toBeGreaterThan(1);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(MAX_FIRST_LOAD);
});
