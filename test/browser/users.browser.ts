import type { Page } from 'playwright-core';
import { sharedApi, uniqueName } from '../support/api.js';
import { expectNoViolations, openAsAdmin } from './browser.js';

const api = sharedApi();

/** Confirms a dialog, and waits until it is gone. */
async function confirm(page: Page, verb: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: verb, exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}

test('an administrator creates a user, finds it, disables it, and deletes it', async () => {
  const admin = await api.admin();
  const username = uniqueName();
  const page = await openAsAdmin('/users');
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'New user' }).click();
  const dialog = page.getByRole('dialog', { name: 'New user' });
  await dialog.getByLabel('Username').fill('not a name');
  await dialog.getByRole('button', { name: 'Generate' }).click();
  await expectNoViolations(page);
  await dialog.getByRole('button', { name: 'Create the user' }).click();
  await dialog.getByText(/^Must have 2 to 64/).waitFor();
  await dialog.getByLabel('Username').fill(username);
  await dialog.getByLabel('First name').fill('Ada');
  await dialog.getByRole('button', { name: 'Create the user' }).click();
  await page.getByRole('heading', { name: username, level: 1 }).waitFor();
  expect((await admin.get(`/v1/users/${username}`)).body).toMatchObject({ firstName: 'Ada', role: 'user' });

  await page.getByRole('navigation', { name: 'Sections' }).getByRole('link', { name: 'Users' }).click();
  await page.getByRole('textbox', { name: 'Search users' }).fill(username);
  await page.getByRole('row').filter({ hasText: username }).waitFor();
  await page.getByRole('button', { name: `Actions for ${username}` }).click();
  await page.getByRole('menuitem', { name: 'Disable' }).click();
  await confirm(page, 'Disable');
  await page.getByRole('cell', { name: 'disabled' }).waitFor();
  expect((await admin.get(`/v1/users/${username}`)).body.status).toBe('disabled');

  await page.getByRole('button', { name: `Actions for ${username}` }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByLabel(`Type ${username} to confirm`).fill(username);
  await expectNoViolations(page);
  await confirm(page, 'Delete');
  await page.getByText('No user found').waitFor();
  expect((await admin.get(`/v1/users/${username}`)).status).toBe(404);
});

test('a quota changes within three clicks from the list, and is removed again', async () => {
  const admin = await api.admin();
  const { id, username } = await api.createUser();
  await admin.put(`/v1/users/${id}/quotas/resources`, { limit: 5 });
  const page = await openAsAdmin(`/users?query=${username}`);

  await page.getByRole('link', { name: username }).click();
  await page.getByRole('button', { name: 'Change the quota resources (user)' }).click();
  await page.getByRole('dialog').getByRole('textbox', { name: 'Limit' }).fill('1234');
  await expectNoViolations(page);
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByText('0 of 1,234 used').waitFor();
  const resources = async () =>
    (await admin.get(`/v1/users/${id}/quotas`)).body.data.find(({ meter }: { meter: string }) => meter === 'resources');
  expect(await resources()).toMatchObject({ limit: 1234, scope: 'user' });
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'Remove the quota resources (user)' }).first().click();
  await confirm(page, 'Remove');
  await page.getByText('0 of 1,234 used').waitFor({ state: 'detached' });
  expect((await resources())?.limit ?? null).toBeNull();
});

test('a profile that somebody else changes meanwhile: both are shown, and what was typed stays', async () => {
  const admin = await api.admin();
  const { id } = await api.createUser({ firstName: 'Ada' });
  const page = await openAsAdmin(`/users/${id}?tab=profile`);
  await page.getByLabel('Last name').fill('King');
  await admin.patch(`/v1/users/${id}`, { firstName: 'Augusta' });
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Somebody has changed it meanwhile').waitFor();
  await page.getByText('firstName: Augusta').waitFor();
  await expectNoViolations(page);
  expect(await page.getByLabel('Last name').inputValue()).toBe('King');
  expect((await admin.get(`/v1/users/${id}`)).body.lastName).toBeNull();

  await page.getByRole('button', { name: 'Keep my input' }).click();
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved', { exact: true }).waitFor();
  expect((await admin.get(`/v1/users/${id}`)).body).toMatchObject({ firstName: 'Ada', lastName: 'King' });
});

test('credits, a reset link, and sessions of a user', async () => {
  const admin = await api.admin();
  const user = await api.createUser({ credits: 3 });
  const page = await openAsAdmin(`/users/${user.id}`);
  await page.getByRole('button', { name: 'Grant credits' }).click();
  const dialog = page.getByRole('dialog', { name: 'Grant credits' });
  await dialog.getByLabel('Credits').fill('7');
  await dialog.getByLabel('Reason (optional)').fill('Thanks');
  await expectNoViolations(page);
  await dialog.getByRole('button', { name: 'Grant', exact: true }).click();
  await page.getByRole('cell', { name: 'Thanks' }).waitFor();
  expect((await admin.get(`/v1/metrics/users/${user.id}`)).body).toMatchObject({ credits: 10 });

  await page.getByRole('tab', { name: 'Security' }).click();
  await page.getByRole('cell', { name: /node/ }).waitFor();
  await expectNoViolations(page);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await confirm(page, 'End');
  await page.getByText('No sessions').waitFor();
  expect((await api.as(user).get('/v1/users/me')).status).toBe(401);

  await page.getByRole('button', { name: 'Create a password reset link' }).click();
  await page.getByRole('button', { name: 'Create the link' }).click();
  const url = await page.getByRole('textbox', { name: 'Link' }).inputValue();
  await expectNoViolations(page);
  const token = new URLSearchParams(new URL(url).hash.slice(1)).get('token');
  const password = 'Another-Secret-8';
  expect((await api.post('/v1/auth/recovery/confirm', { token, newPassword: password })).status).toBe(204);
  await api.signIn(user.username, password);
});

test('every tab of a user with keys, objects and usage', async () => {
  const user = await api.createUser();
  const own = api.as(user);
  const key = await own.createKey({ name: 'server', limits: [{ meter: 'api:*', window: 'day', limit: 5 }] });
  await api.call('api1', key);
  await own.post('/v1/resources', { value: 'a text' });
  await own.post('/v1/tasks', { title: 'Count the blankets' });
  await own.put('/v1/store/some-key', { on: true });
  const page = await openAsAdmin(`/users/${user.id}?tab=usage`);
  await page.getByRole('cell', { name: 'api1' }).waitFor();
  await expectNoViolations(page);
  await page.getByRole('tab', { name: 'API keys' }).click();
  await page.getByText('1 of 5 used').waitFor();
  await expectNoViolations(page);

  await page.getByRole('tab', { name: 'Objects' }).click();
  await page.getByRole('cell', { name: 'a text', exact: true }).waitFor();
  await page.getByText('Tasks', { exact: true }).last().click();
  await page.getByRole('cell', { name: 'Count the blankets', exact: true }).waitFor();
  await page.getByText('Store', { exact: true }).last().click();
  await page.getByRole('button', { name: 'Delete the entry "some-key"' }).click();
  await confirm(page, 'Delete');
  await page.getByText('The store is empty').waitFor();
  await expectNoViolations(page);
  expect((await own.get('/v1/store/some-key')).status).toBe(404);

  await page.getByRole('tab', { name: 'Audit' }).click();
  await page.getByText('user.create').waitFor();
  await expectNoViolations(page);
});

test('an import goes on after the server was away, and reports refused lines', async () => {
  const admin = await api.admin();
  const [first, second, third] = [uniqueName(), uniqueName(), uniqueName()];
  const page = await openAsAdmin('/users/import');
  const lines = [
    `username,firstName,credits`,
    `${first},Ada,3`,
    `${second},"Grace",x`,
    `${third},Ho,`,
    `${first},Eve,`,
  ];
  await page.getByLabel('Or its text').fill(lines.join('\n'));
  await page.getByText('3 of 4 lines can be sent.').waitFor();
  await page.getByRole('table', { name: 'Preview' }).getByText('credits must be a number').waitFor();
  await expectNoViolations(page);

  await page.context().setOffline(true);
  await page.getByRole('button', { name: 'Create 3 users' }).click();
  await page.getByText('The import waits').waitFor();
  await page.context().setOffline(false);
  await page.getByText('The import has ended').waitFor();
  await page.getByText('Finished: 2 created, 1 refused, 0 left').waitFor();
  await page.getByRole('table', { name: 'Refused lines' }).getByText('username_taken').waitFor();
  await expectNoViolations(page);
  expect((await admin.get(`/v1/users/${first}`)).body.username).toBe(first);
  expect((await admin.get(`/v1/users/${third}`)).status).toBe(200);
  expect((await admin.get(`/v1/users/${second}`)).status).toBe(404);

  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save the generated passwords' }).click();
  expect((await download).suggestedFilename()).toBe('passwords.csv');
});
