import { readFile } from 'node:fs/promises';
import { sharedApi, uniqueName } from '../support/api.js';
import { expectNoViolations, openAsAdmin, openPage, signIn } from './browser.js';

const api = sharedApi();

test('Overview: numbers, charts, top users and health, for a chosen period', async () => {
  const user = await api.createUser();
  const own = api.as(user);
  await api.call('api1', await own.createKey());
  const page = await openAsAdmin('/overview');
  await page.getByText('Server and database answer').waitFor();
  await page.getByRole('img', { name: /^Calls granted by API: / }).waitFor();
  await page.getByText(/Numbers as of/).waitFor();
  await page.locator('time').first().focus();
  await page.getByRole('tooltip').filter({ hasText: 'UTC' }).waitFor();
  await page.getByText('24 hours').click();
  await page.waitForURL('**/overview?period=day');
  await page
    .getByRole('table', { name: 'Requests by route' })
    .getByText(/^POST /)
    .first()
    .waitFor();
  await expectNoViolations(page);
});

test('Plans: created, given a limit, and deleted', async () => {
  const admin = await api.admin();
  const slug = uniqueName();
  const page = await openAsAdmin('/plans?create=yes');
  const dialog = page.getByRole('dialog', { name: 'New plan' });
  await dialog.getByLabel('Name').fill('A plan');
  await dialog.getByLabel('Slug').fill(slug);
  await dialog.getByRole('button', { name: 'Create the plan' }).click();
  await page.getByRole('heading', { name: 'A plan', level: 1 }).waitFor();
  await page.getByRole('button', { name: 'Add a limit' }).click();
  await page.getByRole('dialog').getByRole('textbox', { name: 'Limit' }).fill('250');
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByText('Changes are not saved yet.').waitFor();
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved', { exact: true }).waitFor();
  expect((await admin.get(`/v1/plans/${slug}`)).body.limits).toEqual([{ meter: 'api:*', window: 'month', limit: 250 }]);
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.waitForURL('**/console/plans');
  expect((await admin.get(`/v1/plans/${slug}`)).status).toBe(404);
  await page.getByRole('table', { name: 'Plans' }).waitFor();
  await expectNoViolations(page);
});

test('APIs: added, changed and removed', async () => {
  const admin = await api.admin();
  const slug = uniqueName();
  const page = await openAsAdmin('/apis?create=yes');
  const dialog = page.getByRole('dialog', { name: 'New API' });
  await dialog.getByLabel('Name').fill('Maps');
  await dialog.getByLabel('Slug').fill(slug);
  await dialog.getByLabel('Text', { exact: true }).fill('MAPS');
  await expectNoViolations(page);
  await dialog.getByRole('button', { name: 'Add the API' }).click();
  await page.getByRole('heading', { name: 'Maps', level: 1 }).waitFor();
  await page.getByLabel('Text', { exact: true }).fill('OTHER MAPS');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved', { exact: true }).waitFor();
  expect((await admin.get(`/v1/apis/${slug}`)).body).toMatchObject({ name: 'Maps', answer: 'OTHER MAPS' });
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByLabel(`Type ${slug} to confirm`).fill(slug);
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.waitForURL('**/console/apis');
  expect((await admin.get(`/v1/apis/${slug}`)).status).toBe(404);
});

test('Platform: a quota of the platform is set and removed', async () => {
  const admin = await api.admin();
  const meter = `api:${await api.createApi()}`;
  const page = await openAsAdmin('/platform');
  await page.getByRole('button', { name: 'Set a quota' }).click();
  const dialog = page.getByRole('dialog', { name: 'Set a quota' });
  await dialog.getByRole('combobox', { name: 'Meter' }).click();
  await dialog.getByRole('combobox', { name: 'Meter' }).fill(meter);
  await page.getByRole('option', { name: meter }).click();
  await dialog.getByRole('textbox', { name: 'Limit' }).fill('1000000');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.getByText(`${meter}, a month (platform)`, { exact: true }).waitFor();
  const quotas = async () => (await admin.get('/v1/platform/quotas')).body.data;
  expect(await quotas()).toContainEqual(expect.objectContaining({ meter, window: 'month', limit: 1_000_000 }));
  await expectNoViolations(page);

  await page.getByRole('button', { name: `Remove the quota ${meter}, a month (platform)` }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByText(`${meter}, a month (platform)`, { exact: true }).waitFor({ state: 'detached' });
  expect(await quotas()).not.toContainEqual(expect.objectContaining({ meter }));
});

test('Audit: filters, the changes of an entry side by side, and the chain', async () => {
  const admin = await api.admin();
  const { id, username } = await api.createUser({ firstName: 'Grace' });
  await admin.patch(`/v1/users/${id}`, { firstName: 'Murray' });
  const page = await openAsAdmin('/audit');
  await page.getByLabel('Target').fill(username);
  await page.getByLabel('Action').fill('user.update');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByRole('button', { name: 'firstName: Grace → Murray' }).click();
  const changes = page.getByRole('dialog', { name: 'user.update' }).getByRole('table', { name: 'Changes' });
  expect(await changes.getByRole('row').last().getByRole('cell').allTextContents()).toEqual(['Grace', 'Murray']);
  await expectNoViolations(page);
  await page.keyboard.press('Escape');

  await page.getByRole('button', { name: 'Verify the chain' }).click();
  await page.getByText('No sealed entry was altered or removed').waitFor();
  await expectNoViolations(page);
});

test('Audit: refreshes of tokens are listed only on demand', async () => {
  const page = await openAsAdmin('/audit');
  await page.reload();
  const table = page.getByRole('table', { name: 'Audit' });
  await table.getByText('session.create').first().waitFor();
  expect(await table.getByText('session.refresh').count()).toBe(0);
  await page.getByRole('switch', { name: 'Token refreshes' }).click();
  await table.getByText('session.refresh').first().waitFor();
  expect(new URL(page.url()).search).toBe('?refreshes=yes');
  await expectNoViolations(page);
});

test('Export: the ledger of a period as a file', async () => {
  const user = await api.createUser();
  await api.call('api1', await api.as(user).createKey());
  const page = await openAsAdmin('/export');
  await expectNoViolations(page);
  for (const [format, extension] of [
    ['CSV', 'csv'],
    ['NDJSON', 'ndjson'],
  ] as const) {
    await page.getByText(format, { exact: true }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download' }).click();
    const file = await download;
    expect(file.suggestedFilename()).toMatch(new RegExp(`^usage-.*\\.${extension}$`));
    expect(await readFile(await file.path(), 'utf8')).toContain(user.username);
  }
});

test('Refusals: a request id leads to every limit that was checked, and a key can be checked without a charge', async () => {
  const user = await api.createUser();
  const own = api.as(user);
  const key = await own.createKey({ limits: [{ meter: 'api:api1', window: 'lifetime', limit: 1 }] });
  await api.call('api1', key);
  const { requestId } = (await api.call('api1', key)).body;

  const page = await openPage('/refusals');
  await signIn(page, user);
  await page.getByLabel('Request id').fill(requestId);
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByRole('button', { name: `Explain the refusal ${requestId}` }).click();
  const dialog = page.getByRole('dialog', { name: 'A limit was used up' });
  await dialog.getByText('refused the call').waitFor();
  await dialog.getByText('1 of 1 used').waitFor();
  await expectNoViolations(page);
  await page.keyboard.press('Escape');

  await page.getByRole('tab', { name: 'Check a key' }).click();
  await page.getByRole('combobox', { name: 'API key' }).click();
  await page.getByRole('option').click();
  await page.getByRole('combobox', { name: 'API', exact: true }).fill('api1');
  await page.getByRole('option', { name: /api1/i }).click();
  await page.getByText('A call now would be refused: a limit was used up').waitFor();
  await page.getByText('1 of 1 used').waitFor();
  await expectNoViolations(page);

  await page.getByRole('tab', { name: 'Check a secret' }).click();
  await page.getByLabel('Secret of the API key').fill(key.key);
  await page.getByRole('combobox', { name: 'API', exact: true }).fill('api2');
  await page.getByRole('option', { name: /api2/i }).click();
  await page.getByRole('button', { name: 'Check' }).click();
  await page.getByText('The call would be granted').waitFor();
  await expectNoViolations(page);
  expect((await own.get(`/v1/metrics/users/${user.id}`)).body.calls).toMatchObject({ granted: 1, denied: 1 });

  const admin = await openAsAdmin(`/refusals?requestId=${requestId}`);
  await admin.getByRole('button', { name: `Explain the refusal ${requestId}` }).waitFor();
});
