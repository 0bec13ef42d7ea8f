import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { sharedApi } from '../support/api.js';
import { ADMIN, expectNoViolations, openPage, signIn } from './browser.js';
import { SIZES } from './chromium.js';

const api = sharedApi();

/** For tests that check each of many pages four times. */
const TIMEOUT_MS = 400_000;

const ROUTES = readFileSync(new URL('../../console/src/routes.tsx', import.meta.url), 'utf8');

/** The paths of all pages, as the router has them. */
const PATHS = [...ROUTES.matchAll(/path: '(\/[^']+)'/g)].map(([, path = '']) => path);

const PUBLIC = ['/sign-in', '/forgot-password', '/reset-password', '/confirm-email', '/register'];

const OWN = ['/usage', '/keys', '/keys/$id', '/store', '/resources', '/tasks', '/account', '/refusals'];

const TABS = ['quotas', 'usage', 'profile', 'keys', 'objects', 'security', 'audit'];

/** What is measured of a page. */
const LAYOUT = `({
  headings: document.querySelectorAll('h1').length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  brokenImages: [...document.images].filter(({ naturalWidth }) => naturalWidth === 0).length,
})`;

/** Opens pages, and checks them at both widths. Returns those that have not one heading, are wider than the window, or lack an image. */
async function inspect(page: Page, paths: string[]): Promise<unknown[]> {
  const faults: unknown[] = [];
  for (const path of paths) {
    await page.goto(`/console${path}`);
    await page.locator('h1').first().waitFor();
    await page.waitForLoadState('networkidle');
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.setViewportSize(viewport);
      await expectNoViolations(page);
      const found: any = await page.evaluate(LAYOUT);
      if (found.headings !== 1 || found.overflow !== 0 || found.brokenImages !== 0)
        faults.push({ path, size, ...found });
    }
  }
  return faults;
}

/** A user with something on each page. */
async function createOwner() {
  const user = await api.createUser({ credits: 5 });
  const own = api.as(user);
  const key = await own.createKey({ limits: [{ meter: 'api:*', window: 'day', limit: 1 }] });
  await api.call('api1', key);
  await api.call('api1', key);
  await own.post('/v1/resources', { value: 'a long value '.repeat(20).trim() });
  await own.post('/v1/tasks', { title: 'a task' });
  const entries = [
    { key: 'orders/2026/1', value: { total: 13.5 } },
    { key: `long/${'x'.repeat(300)}`, value: 1, ttlSeconds: 3_600 },
  ];
  await own.post('/v1/store/write', { entries });
  return { user, key };
}

test('pages for people who are not signed in, at both widths: no axe violations, nothing cut off', async () => {
  const page = await openPage('/sign-in');
  expect(await inspect(page, PUBLIC)).toEqual([]);
});

test(
  'pages of a user, at both widths: no axe violations, nothing cut off',
  async () => {
    const { user, key } = await createOwner();
    const page = await openPage('/usage');
    await signIn(page, user);
    const paths = OWN.map((path) => path.replace('$id', key.id));
    expect(await inspect(page, [...paths, '/no-such-page', '/overview'])).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'pages of an administrator, at both widths: no axe violations, nothing cut off',
  async () => {
    const page = await openPage('/overview');
    await signIn(page, ADMIN);
    const paths = PATHS.filter((path) => !PUBLIC.includes(path) && !OWN.includes(path) && !path.includes('$'));
    expect(await inspect(page, paths)).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'pages of one object for an administrator, at both widths: no axe violations, nothing cut off',
  async () => {
    const { user } = await createOwner();
    const plan = await api.createPlan([{ meter: 'api:*', window: 'month', limit: 1_000_000 }]);
    const page = await openPage('/overview');
    await signIn(page, ADMIN);
    const tabs = TABS.map((tab) => `/users/${user.id}?tab=${tab}`);
    expect(await inspect(page, [...tabs, `/plans/${plan}`, '/apis/api1', '/users/nobody'])).toEqual([]);
  },
  TIMEOUT_MS,
);
