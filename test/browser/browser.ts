import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { sharedApi } from '../support/api.js';
import { ADMIN_PASSWORD } from '../support/server.js';
import { SCHEMES, SIZES, startBrowser } from './chromium.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser: Browser;
const contexts: BrowserContext[] = [];

beforeAll(async () => (browser = await startBrowser()));
afterEach(() => Promise.all(contexts.splice(0).map((context) => context.close())));
afterAll(() => browser.close());

interface PageOptions {
  size?: keyof typeof SIZES;
  colorScheme?: (typeof SCHEMES)[number];
  /** Of another server than the shared one. */
  url?: string;
}

/** Opens a page of the console, in a browser profile of its own. The test ends it. */
export async function openPage(path: string, options: PageOptions = {}): Promise<Page> {
  const { size = 'desktop', colorScheme = 'light', url = sharedApi().url } = options;
  const context = await browser.newContext({
    ...{ viewport: SIZES[size], colorScheme, baseURL: url, reducedMotion: 'reduce', locale: 'en-GB' },
    // A client address of its own, so that wrong passwords do not throttle other tests.
    extraHTTPHeaders: { 'x-forwarded-for': `10.${String(contexts.length)}.0.${String(process.pid % 250)}` },
  });
  contexts.push(context);
  const page = await context.newPage();
  await page.goto(`/console${path}`);
  return page;
}

export interface Login {
  username: string;
  password: string;
}

export const ADMIN: Login = { username: 'admin', password: ADMIN_PASSWORD };

/** Signs in on the page for it, and waits for the shell. */
export async function signIn(page: Page, { username, password }: Login): Promise<void> {
  await page.getByLabel('Username or e-mail address').fill(username);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: `Your account: ${username}` }).waitFor();
}

/** Opens a page as the initial administrator. */
export async function openAsAdmin(path: string): Promise<Page> {
  const page = await openPage(path);
  await signIn(page, ADMIN);
  await page.getByRole('heading', { level: 1 }).waitFor();
  return page;
}

/** The rules of axe whose result depends on colours. */
const COLOUR_RULES = ['color-contrast', 'link-in-text-block'];

/**
 * Checks a page with axe for WCAG 2.2 AA and best practices, in light colours. In dark colours only what depends on
 * them: both schemes have the same elements.
 */
export async function expectNoViolations(page: Page): Promise<void> {
  const found: Record<string, unknown> = {};
  // Every page has one, once it has started.
  await page.locator('h1').first().waitFor();
  await page.evaluate(AXE);
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.locator(`html[data-mantine-color-scheme=${colorScheme}]`).waitFor();
    const options = colorScheme === 'light' ? {} : { runOnly: COLOUR_RULES };
    found[colorScheme] = await page.evaluate(async (axeOptions) => {
      const { violations } = await (globalThis as any).axe.run(axeOptions);
      return violations.map(({ id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] }) => ({
        id,
        nodes: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
      }));
    }, options);
  }
  expect(found).toEqual({ light: [], dark: [] });
}
