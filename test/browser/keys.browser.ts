import { sharedApi } from '../support/api.js';
import { expectNoViolations, openPage, signIn } from './browser.js';

const api = sharedApi();

test('API keys: made and shown once, edited, limited, rotated, disabled and revoked', async () => {
  const slug = await api.createApi();
  const user = await api.createUser();
  const mine = api.as(user);
  const page = await openPage('/keys');
  await signIn(page, user);
  await page.getByText('No key yet').waitFor();
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'Create a key' }).click();
  const create = page.getByRole('dialog', { name: 'Create an API key' });
  await create.getByLabel('Name').fill('billing');
  await create.getByRole('button', { name: 'Add a limit' }).click();
  await create.getByLabel('Calls').fill('20');
  await expectNoViolations(page);
  await create.getByRole('button', { name: 'Create', exact: true }).click();
  const shown = page.getByRole('dialog', { name: 'The secret of the key “billing”' });
  const secret = await shown.getByRole('textbox', { name: 'Key' }).inputValue();
  expect(await shown.getByRole('textbox', { name: 'Try it' }).inputValue()).toContain(`X-API-Key: ${secret}`);
  await expectNoViolations(page);
  expect((await api.call(slug, { key: secret })).status).toBe(200);
  // Escape must not close it before the secret is stored.
  await page.keyboard.press('Escape');
  await shown.getByLabel('I have stored it').check();
  await shown.getByRole('button', { name: 'Done' }).click();
  await shown.waitFor({ state: 'detached' });

  const [made] = (await mine.get('/v1/keys')).body.data;
  expect(made).toMatchObject({
    name: 'billing',
    scopes: ['*'],
    expiresAt: null,
    limits: [{ meter: 'api:*', limit: 20 }],
  });
  await page.getByRole('link', { name: 'billing' }).click();
  await page.waitForURL(`**/console/keys/${made.id}`);
  await page.getByText('1 of 20 used').waitFor();
  await page.getByRole('img', { name: 'Calls with this key: Granted 1, Denied 0' }).waitFor();
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'Edit' }).click();
  const edit = page.getByRole('dialog', { name: 'Edit the key “billing”' });
  await edit.getByLabel('Name').fill('invoices');
  await edit.getByRole('combobox', { name: 'May call' }).click();
  await page.getByRole('option', { name: 'Only the APIs below' }).click();
  await edit.getByRole('combobox', { name: 'APIs (scopes)' }).fill(slug);
  await page.keyboard.press('Enter');
  await edit.getByLabel('Expires (optional)').fill('2031-05-06T07:08');
  await edit.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('heading', { name: 'invoices', level: 1 }).waitFor();
  const expiresAt = await page.evaluate(() => new Date('2031-05-06T07:08').toISOString());
  expect((await mine.get(`/v1/keys/${made.id}`)).body).toMatchObject({ name: 'invoices', scopes: [slug], expiresAt });

  await page.getByRole('button', { name: 'Set a limit' }).click();
  const limit = page.getByRole('dialog', { name: 'Set a limit of the key' });
  await limit.getByLabel('Calls').fill('50');
  await limit.getByRole('button', { name: 'Set', exact: true }).click();
  await limit.getByText('Only administrators can raise a limit of a key').waitFor();
  await limit.getByLabel('Calls').fill('5');
  await limit.getByRole('button', { name: 'Set', exact: true }).click();
  await page.getByText('1 of 5 used').waitFor();
  expect((await mine.get(`/v1/keys/${made.id}`)).body.limits).toMatchObject([{ limit: 5 }]);

  await page.getByRole('button', { name: 'Rotate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
  const rotated = page.getByRole('dialog', { name: 'The secret of the key “invoices”' });
  const second = await rotated.getByRole('textbox', { name: 'Key' }).inputValue();
  await rotated.getByLabel('I have stored it').check();
  await rotated.getByRole('button', { name: 'Done' }).click();
  // The old secret stays valid for a day.
  for (const key of [secret, second]) expect((await api.call(slug, { key })).status).toBe(200);

  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByText('disabled', { exact: true }).waitFor();
  expect((await api.call(slug, { key: second })).status).toBe(401);
  await page.getByRole('button', { name: 'Enable' }).click();
  await page.getByText('active', { exact: true }).waitFor();

  await page.getByRole('button', { name: 'Revoke' }).click();
  const revoke = page.getByRole('dialog', { name: 'Revoke the key “invoices”?' });
  await expectNoViolations(page);
  await revoke.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('No key yet').waitFor();
  expect((await mine.get('/v1/keys')).body.data).toEqual([]);
});

test('Usage: what is used and left, and calls over time', async () => {
  const slug = await api.createApi();
  const plan = await api.createPlan([{ meter: `api:${slug}`, window: 'month', limit: 3 }]);
  const user = await api.createUser({ plan, credits: 4 });
  const key = await api.as(user).createKey();
  for (let calls = 0; calls < 4; calls++) await api.call(slug, key);
  await api.as(user).post('/v1/tasks', {});

  const page = await openPage('/usage');
  await signIn(page, user);
  await page.getByText('3 of 3 used').waitFor();
  await page.getByText('1 of 4 used').waitFor();
  await page.getByText('0 left: used up').waitFor();
  await page.getByRole('img', { name: 'Calls: Granted 3, Denied 1' }).waitFor();
  await page.getByRole('table', { name: 'Calls by API' }).getByRole('cell', { name: slug }).waitFor();
  await expectNoViolations(page);

  await page.getByText('24 hours', { exact: true }).click();
  await page.getByRole('combobox', { name: 'API' }).click();
  await page.getByRole('option', { name: slug }).click();
  await page.getByLabel('Calls as a table').check({ force: true });
  const rows = page.getByRole('region', { name: 'Calls', exact: true }).getByRole('row');
  await rows.nth(24).waitFor();
  expect(await rows.count()).toBe(25);
  await expectNoViolations(page);
});
