import type { Page } from 'playwright-core';
import { Api, sharedApi, uniqueName } from '../support/api.js';
import { TestServer, createDatabase } from '../support/server.js';
import { Mailbox } from '../support/smtp.js';
import { until } from '../support/until.js';
import { expectNoViolations, openPage, signIn } from './browser.js';

const api = sharedApi();

const PASSWORD = 'Unguessable-9';

test('a first visit: no request fails', async () => {
  const page = await openPage('/livez-is-no-page');
  const failed: string[] = [];
  page.on('response', (response) => {
    if (!response.ok()) failed.push(response.url());
  });
  await page.goto('/console/');
  await page.waitForURL('**/console/sign-in');
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  expect(failed).toEqual([]);
});

describe('on a platform of its own', () => {
  let mailbox: Mailbox;
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: TestServer;
  let own: Api;

  beforeAll(async () => {
    [mailbox, database] = await Promise.all([Mailbox.start(), createDatabase()]);
    const env = { DATABASE_URL: database.url, SMTP_URL: mailbox.url, TRUST_PROXY: '127.0.0.1' };
    server = await TestServer.start(env);
    own = new Api(server.url);
  });

  afterAll(async () => {
    await server.stop();
    await Promise.all([mailbox.close(), database.drop()]);
  });

  /** Opens the link of the last e-mail to an address. */
  async function openLink(page: Page, address: string): Promise<void> {
    await until(() => mailbox.received.some(({ recipients }) => recipients.includes(address)));
    const { mail } = mailbox.received.filter(({ recipients }) => recipients.includes(address)).at(-1)!;
    const link = new URL(/https?:\S+#token=\S+/.exec(mail.text ?? '')![0]);
    mailbox.received.length = 0;
    await page.goto(`${link.pathname}${link.hash}`);
  }

  test('registration, confirmation of the e-mail address, and a forgotten password', async () => {
    const username = uniqueName();
    const email = `${username}@example.com`;
    const page = await openPage('/register', { url: server.url });
    await page.getByLabel('Username').fill(username);
    await page.getByLabel('E-mail address').fill(email);
    await page.getByLabel('Password', { exact: true }).fill('short');
    await page.getByRole('button', { name: 'Create the account' }).click();
    await page.getByText('Must have 8 to 64 characters').first().waitFor();
    await expectNoViolations(page);
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Create the account' }).click();
    await page.waitForURL('**/console/usage');

    await openLink(page, email);
    await page.waitForURL('**/console/confirm-email#token=*');
    await expectNoViolations(page);
    await page.getByRole('button', { name: 'Confirm this address' }).click();
    await page.getByText('Your e-mail address is confirmed').waitFor();
    await page.goto('/console/account');
    await page.getByText('Confirmed', { exact: true }).waitFor();

    const other = await openPage('/forgot-password', { url: server.url });
    await other.getByLabel('Username or e-mail address').fill(username);
    await expectNoViolations(other);
    await other.getByRole('button', { name: 'Send the link' }).click();
    await other.getByText('Look into your mailbox').waitFor();
    await openLink(other, email);
    await other.waitForURL('**/console/reset-password#token=*');
    await expectNoViolations(other);
    await other.getByLabel('New password').fill('Unguessable-10');
    await other.getByRole('button', { name: 'Set the password' }).click();
    await other.getByText('Your password is set').waitFor();
    await other.getByRole('link', { name: 'Sign in' }).click();
    await signIn(other, { username, password: 'Unguessable-10' });
  });

  test('registration is closed: said in words', async () => {
    await (await own.admin()).patch('/v1/platform', { registration: 'closed' });
    const page = await openPage('/register', { url: server.url });
    await page.getByLabel('Username').fill(uniqueName());
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Create the account' }).click();
    await page.getByText('Registration is closed').waitFor();
    await expectNoViolations(page);
    await (await own.admin()).patch('/v1/platform', { registration: 'open' });
  });
});

/** Answers the next request of a page for its usage as if its access token had expired. */
async function expireToken(page: Page): Promise<void> {
  await page.route(
    '**/v1/metrics/users/me',
    (route) => route.fulfill({ status: 401, json: { code: 'invalid_token' } }),
    {
      times: 1,
    },
  );
}

test('two tabs: both refresh at once and stay signed in; one signs out, and the other says so', async () => {
  const user = await api.createUser();
  const one = await openPage('/keys');
  await signIn(one, user);
  const two = await one.context().newPage();
  await two.goto('/console/keys');
  await two.getByRole('heading', { name: 'API keys' }).waitFor();

  const tabs = [one, two];
  for (let round = 0; round < 3; round++) {
    await Promise.all(tabs.map(expireToken));
    const refreshed = tabs.map((tab) => tab.waitForResponse('**/v1/auth/refresh'));
    await Promise.all(tabs.map((tab) => tab.getByRole('link', { name: 'Usage' }).click()));
    expect((await Promise.all(refreshed)).map((response) => response.status())).toEqual([200, 200]);
    await Promise.all(tabs.map((tab) => tab.getByText('Calls granted').waitFor()));
    // Loads both anew, with what the cookie holds now.
    await Promise.all(tabs.map((tab) => tab.goto('/console/keys')));
    await Promise.all(tabs.map((tab) => tab.getByRole('heading', { name: 'API keys' }).waitFor()));
  }

  await one.getByRole('button', { name: `Your account: ${user.username}` }).click();
  await one.getByRole('menuitem', { name: 'Sign out' }).click();
  await one.waitForURL('**/console/sign-in');
  const dialog = two.getByRole('dialog', { name: 'Your session has ended' });
  await dialog.waitFor();
  await dialog.getByLabel('Password', { exact: true }).fill(user.password);
  await dialog.getByRole('button', { name: 'Sign in', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
});

test('an expired session while a form is filled in: the input is kept, and sent after the sign-in', async () => {
  const user = await api.createUser();
  const page = await openPage('/resources');
  await signIn(page, user);
  await page.getByRole('button', { name: 'Create a resource' }).click();
  await page.getByLabel('Value').fill('typed before the session ended');
  const { data } = (await api.as(user).get('/v1/auth/sessions')).body;
  const { id } = data.find(({ current }: { current: boolean }) => !current);
  expect((await api.as(user).delete(`/v1/auth/sessions/${id}`)).status).toBe(204);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
  await dialog.getByLabel('Password', { exact: true }).fill(user.password);
  await dialog.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByText('The resource is created').waitFor();
  expect((await api.as(user).get('/v1/resources')).body.data).toMatchObject([
    { value: 'typed before the session ended' },
  ]);
});

test('a server that goes away while a form is filled in: the input is kept, and written once', async () => {
  const user = await api.createUser();
  const page = await openPage('/tasks');
  await signIn(page, user);
  await page.getByLabel('New task').fill('typed before the server went away');
  await page.context().setOffline(true);
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('status').filter({ hasText: 'The server cannot be reached' }).waitFor();
  expect(await page.getByLabel('New task').inputValue()).toBe('typed before the server went away');
  await page.context().setOffline(false);
  await page.getByRole('status').filter({ hasText: 'The server cannot be reached' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('cell', { name: 'typed before the server went away', exact: true }).waitFor();
  expect((await api.as(user).get('/v1/tasks')).body.data).toHaveLength(1);
});

test('a page for administrators: a user sees why it is empty, and nothing else', async () => {
  const user = await api.createUser();
  const page = await openPage('/users');
  await signIn(page, user);
  await page.getByText('Only administrators can see this page').waitFor();
  await expectNoViolations(page);
});
