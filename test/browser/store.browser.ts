import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { sharedApi } from '../support/api.js';
import { expectNoViolations, openPage, signIn } from './browser.js';

const api = sharedApi();

/** Would be changed by `JSON.parse` and `JSON.stringify`. */
const TEXT = '{"id":12345678901234567890.10,"z":1,"a":"\\u0000","big":1e400,"a":2}';

/** Replaces the text of an editor. */
async function type(page: Page, label: string, text: string): Promise<void> {
  const editor = page.getByRole('textbox', { name: label, exact: true });
  await editor.click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(text);
}

test('Store: an entry is made, found in the tree, changed and deleted, and its text is kept', async () => {
  const user = await api.createUser();
  const mine = api.as(user);
  const page = await openPage('/store');
  await signIn(page, user);
  await page.getByText('The store is empty').waitFor();
  await expectNoViolations(page);

  await page.getByRole('button', { name: 'New entry' }).click();
  const drawer = page.getByRole('dialog', { name: 'New entry' });
  await drawer.getByLabel('Key').fill('carts/eu/17');
  await type(page, 'Value', '{"a": }');
  await drawer
    .getByText(/Unexpected token/)
    .first()
    .waitFor();
  expect(await drawer.getByRole('button', { name: 'Create' }).isDisabled()).toBe(true);
  await type(page, 'Value', TEXT);
  await drawer.getByLabel('Expires after (seconds)').fill('3600');
  await expectNoViolations(page);
  await drawer.getByRole('button', { name: 'Create' }).click();
  await drawer.waitFor({ state: 'detached' });
  expect((await mine.get('/v1/store/carts%2Feu%2F17')).text).toBe(TEXT);
  const [{ expiresAt }] = (await mine.get('/v1/store')).body.data;
  expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());

  await page.getByRole('navigation', { name: 'Prefixes' }).getByRole('button', { name: 'carts' }).click();
  await page.waitForURL('**/console/store?prefix=carts*');
  await page.getByRole('navigation', { name: 'Prefixes' }).getByRole('button', { name: 'eu' }).click();
  await page.waitForURL('**/console/store?prefix=carts%2Feu%2F');
  expect(await page.getByLabel('Keys that begin with').inputValue()).toBe('carts/eu/');
  await page.getByRole('button', { name: 'carts/eu/17', exact: true }).click();
  const entry = page.getByRole('dialog', { name: 'Entry' });
  await entry.getByText('12345678901234567890.10').waitFor();
  await expectNoViolations(page);
  // The indentation of the editor is not stored.
  await entry.getByRole('button', { name: 'Save' }).click();
  await entry.waitFor({ state: 'detached' });
  expect((await mine.get('/v1/store/carts%2Feu%2F17')).text).toBe(TEXT);

  await page.getByRole('button', { name: 'carts/eu/17', exact: true }).click();
  await entry.getByRole('button', { name: 'Delete' }).click();
  await page
    .getByRole('dialog', { name: 'Delete the entry “carts/eu/17”?' })
    .getByRole('button', { name: 'Delete' })
    .click();
  await page.getByText('No key begins with this').waitFor();
  expect((await mine.get('/v1/store')).body.data).toEqual([]);
});

test('Store: the tree shows the prefixes of a large store in pages', async () => {
  const user = await api.createUser();
  const mine = api.as(user);
  // More keys below each prefix than a page of the API has, so that each takes one request.
  const prefixes = Array.from({ length: 31 }, (_, n) => `folder${n + 10}`);
  const keys = prefixes.flatMap((prefix) => Array.from({ length: 101 }, (_, n) => `${prefix}/${n}`));
  for (let start = 0; start < keys.length; start += 1_000) {
    const entries = keys.slice(start, start + 1_000).map((key) => ({ key, value: 1 }));
    expect((await mine.post('/v1/store/write', { entries })).status).toBe(200);
  }
  const page = await openPage('/store');
  await signIn(page, user);
  const tree = page.getByRole('navigation', { name: 'Prefixes' });
  const shown = tree.getByRole('button', { name: /^folder/ });

  await tree.getByRole('button', { name: 'More prefixes' }).click();
  await tree.getByRole('button', { name: prefixes.at(-1)! }).waitFor();
  expect(await shown.allTextContents()).toEqual(prefixes);
  expect(await tree.getByRole('button', { name: 'More prefixes' }).count()).toBe(0);
  await expectNoViolations(page);
});

test('Store: after a conflict both values are shown, and the person chooses', async () => {
  const user = await api.createUser();
  const mine = api.as(user);
  await mine.put('/v1/store/shared', 'first');
  const page = await openPage('/store');
  await signIn(page, user);
  const open = async (): Promise<void> => {
    await page.getByRole('button', { name: 'shared', exact: true }).click();
    await page.getByRole('textbox', { name: 'Value', exact: true }).waitFor();
  };
  const drawer = page.getByRole('dialog', { name: 'Entry' });

  await open();
  await mine.put('/v1/store/shared', 'theirs');
  await type(page, 'Value', '"mine"');
  await drawer.getByRole('button', { name: 'Save' }).click();
  await drawer.getByText('Another value was stored meanwhile').waitFor();
  await drawer.getByRole('textbox', { name: 'Stored value' }).getByText('"theirs"').waitFor();
  await drawer.getByRole('textbox', { name: 'Your value' }).getByText('"mine"').waitFor();
  await expectNoViolations(page);
  await drawer.getByRole('button', { name: 'Replace it with my value' }).click();
  await drawer.waitFor({ state: 'detached' });
  expect((await mine.get('/v1/store/shared')).body).toBe('mine');

  await open();
  await mine.put('/v1/store/shared', 'theirs again');
  await type(page, 'Value', '"mine again"');
  await drawer.getByRole('button', { name: 'Save' }).click();
  await drawer.getByRole('button', { name: 'Take the stored value' }).click();
  await drawer.getByRole('textbox', { name: 'Value', exact: true }).getByText('"theirs again"').waitFor();
  await drawer.getByRole('button', { name: 'Save' }).click();
  await drawer.waitFor({ state: 'detached' });
  expect((await mine.get('/v1/store/shared')).body).toBe('theirs again');

  await open();
  await mine.delete('/v1/store/shared');
  await type(page, 'Value', '"kept"');
  await drawer.getByRole('button', { name: 'Save' }).click();
  await drawer.getByText('The entry was deleted meanwhile').waitFor();
  await drawer.getByRole('button', { name: 'Store my value' }).click();
  await drawer.waitFor({ state: 'detached' });
  expect((await mine.get('/v1/store/shared')).body).toBe('kept');
});

test('Store: import and export of a batch, and deletion of many', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'quartermaster-import-'));
  try {
    const user = await api.createUser();
    const mine = api.as(user);
    await mine.put('/v1/store/n%2F0000', 'before');
    const lines = Array.from({ length: 1_200 }, (_, n) => `{"key":"n/${String(n).padStart(4, '0')}","value":${n}.50}`);
    const file = join(folder, 'entries.ndjson');
    await writeFile(file, `${[...lines, 'no JSON', `{"key":"exact","value":${TEXT},"ttlSeconds":60}`].join('\n')}\n`);

    const page = await openPage('/store');
    await signIn(page, user);
    await page.getByRole('button', { name: 'Import' }).click();
    const dialog = page.getByRole('dialog', { name: 'Import entries' });
    await page.locator('input[type=file]').setInputFiles(file);
    await dialog.getByText('1 cannot be imported').waitFor();
    await expectNoViolations(page);
    await dialog.getByRole('button', { name: 'Import 1,201' }).click();
    await dialog.getByText('Done: 1,200 written, 1 skipped').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).last().click();
    expect((await mine.get('/v1/store/n%2F0000')).body).toBe('before');
    expect((await mine.get('/v1/store/n%2F1199')).text).toBe('1199.50');
    expect((await mine.get('/v1/store/exact')).text).toBe(TEXT);

    await page.getByRole('button', { name: 'Export' }).click();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('dialog', { name: 'Export entries' }).getByRole('button', { name: 'Export' }).click(),
    ]);
    const saved = join(folder, 'saved');
    await download.saveAs(saved);
    const exported = (await readFile(saved, 'utf8')).trimEnd().split('\n');
    expect(exported).toHaveLength(1_201);
    expect(exported[0]).toMatch(/^\{"key":"exact","ttlSeconds":\d+,"value":/);
    expect(exported[0]).toContain(TEXT);
    expect(exported[1_200]).toBe('{"key":"n/1199","value":1199.50}');

    await page.getByLabel('Keys that begin with').fill('n/');
    await page.waitForURL('**/console/store?prefix=n%2F');
    await page.getByLabel('Select all shown').check();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'n/0050', exact: true }).waitFor();
    await page.getByLabel('Select all shown').check();
    await page.getByRole('button', { name: 'Delete 100' }).click();
    await page.getByRole('dialog', { name: 'Delete 100 entries?' }).getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'n/0100', exact: true }).waitFor();
    expect((await mine.get('/v1/store?prefix=n/&limit=1')).body.data).toMatchObject([{ key: 'n/0100' }]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
