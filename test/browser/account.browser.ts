import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Api, sharedApi, uniqueName } from '../support/api.js';
import { TestServer, createDatabase } from '../support/server.js';
import { codeOf } from '../support/totp.js';
import { ADMIN, expectNoViolations, openPage, signIn } from './browser.js';

const api = sharedApi();

test('Account: the profile and the password are changed, and other sessions end', async () => {
  const user = await api.createUser();
  const page = await openPage('/account');
  await signIn(page, user);
  await page.getByText('This session').waitFor();
  await expectNoViolations(page);

  const username = uniqueName();
  await page.getByRole('textbox', { name: 'Username' }).fill('admin');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('taken', { exact: false }).first().waitFor();
  await page.getByRole('textbox', { name: 'Username' }).fill(username);
  await page.getByLabel('E-mail address').fill(`${username}@example.com`);
  await page.getByLabel('First name').fill('Ada');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Not confirmed').waitFor();
  await page.getByRole('button', { name: `Your account: ${username}` }).waitFor();
  const expected = { username, email: `${username}@example.com`, firstName: 'Ada', lastName: null };
  expect((await api.as(user).get('/v1/users/me')).body).toMatchObject(expected);

  await page.getByLabel('Current password').fill('Wrong-Password-1');
  await page.getByLabel('New password').fill('Unguessable-8');
  await page.getByRole('button', { name: 'Change the password' }).click();
  await page.getByRole('alert').getByText('The current password is wrong').waitFor();
  expect(await page.getByLabel('New password').inputValue()).toBe('Unguessable-8');
  await page.getByLabel('Current password').fill(user.password);
  await page.getByRole('button', { name: 'Change the password' }).click();
  await page.getByText('All other sessions have ended').waitFor();
  expect((await api.as(user).get('/v1/users/me')).status).toBe(401);
  await api.signIn(username, 'Unguessable-8');
});

test('Account: another session is ended', async () => {
  const user = await api.createUser();
  const page = await openPage('/account');
  await signIn(page, user);
  await page.getByRole('button', { name: 'End the session of node' }).click();
  await page.getByText('The session has ended').waitFor();
  expect((await api.as(user).get('/v1/users/me')).status).toBe(401);
});

test('Account: two-factor sign-in is turned on by QR code, used to sign in, and turned off', async () => {
  const user = await api.createUser();
  const page = await openPage('/account');
  await signIn(page, user);
  await page.getByRole('button', { name: 'Turn on' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Password', { exact: true }).fill(user.password);
  await dialog.getByRole('button', { name: 'Continue' }).click();
  await dialog.getByRole('img', { name: 'QR code for the authenticator app' }).waitFor();
  await expectNoViolations(page);
  const secret = await dialog.getByRole('textbox', { name: 'Secret' }).inputValue();
  await dialog.getByRole('textbox', { name: 'Code' }).fill(codeOf(secret));
  await dialog.getByRole('button', { name: 'Turn on' }).click();
  await dialog.getByText('Store these recovery codes now').waitFor();
  const codes = await dialog.locator('code').allTextContents();
  expect(codes.length).toBeGreaterThan(5);
  await expectNoViolations(page);
  await dialog.getByLabel('I have stored them').check();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await page.getByText(`${String(codes.length)} recovery codes left`).waitFor();

  await page.getByRole('button', { name: `Your account: ${user.username}` }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.waitForURL('**/console/sign-in');
  await page.getByLabel('Username or e-mail address').fill(user.username);
  await page.getByLabel('Password', { exact: true }).fill(user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('textbox', { name: 'Code' }).waitFor();
  await expectNoViolations(page);
  await page.getByRole('textbox', { name: 'Code' }).fill('000-wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await page.getByRole('textbox', { name: 'Code' }).fill(codes[0]!);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { level: 1, name: 'Usage' }).waitFor();

  await page.getByRole('link', { name: 'Account' }).click();
  await page.getByRole('button', { name: 'Turn off' }).click();
  await dialog.getByLabel('Password', { exact: true }).fill(user.password);
  await dialog.getByRole('textbox', { name: 'Code' }).fill(codes[1]!);
  await dialog.getByRole('button', { name: 'Turn off' }).click();
  await page.getByText('Two-factor sign-in is off').waitFor();
  await api.signIn(user.username, user.password);
});

test('Account: a signing key is made in the browser, and its private key is downloaded', async () => {
  const user = await api.createUser();
  const page = await openPage('/account');
  await signIn(page, user);
  await page.getByRole('button', { name: 'Add a key' }).click();
  const dialog = page.getByRole('dialog', { name: 'Add a signing key' });
  await dialog.getByLabel('Name').fill('robot');
  await expectNoViolations(page);
  await dialog.getByRole('button', { name: 'Add' }).click();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    dialog.getByRole('button', { name: 'Download the private key' }).click(),
  ]);
  const privateKey = createPrivateKey(await readFile(await download.path(), 'utf8'));
  const [key] = (await api.as(user).get('/v1/auth/signing-keys')).body.data;
  expect(key).toMatchObject({ name: 'robot' });
  expect(createPublicKey(privateKey).export({ type: 'spki', format: 'pem' })).toBe(key.publicKey);
  await dialog.getByLabel('I have stored it').check();
  await dialog.getByRole('button', { name: 'Done' }).click();

  await page.getByRole('button', { name: 'Delete robot' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('No signing key').waitFor();
  expect((await api.as(user).get('/v1/auth/signing-keys')).body.data).toEqual([]);
});

test('Account: deleted by its user where the platform allows it', async () => {
  const database = await createDatabase();
  const server = await TestServer.start({ DATABASE_URL: database.url, TRUST_PROXY: '127.0.0.1' });
  try {
    const own = new Api(server.url);
    const admin = await own.admin();
    const user = await own.createUser();
    const page = await openPage('/account', { url: server.url });
    await signIn(page, user);
    await page.getByText('On this platform only administrators delete accounts').waitFor();
    const settings = await openPage('/platform', { url: server.url });
    await signIn(settings, ADMIN);
    await settings.getByLabel('Users may delete their own account').check();
    await settings.getByRole('button', { name: 'Save' }).click();
    await settings.getByText('Saved', { exact: true }).waitFor();
    expect((await admin.get('/v1/platform')).body.selfDeletion).toBe(true);
    await page.reload();
    await page.getByRole('button', { name: 'Delete my account' }).click();
    const dialog = page.getByRole('dialog', { name: 'Delete your account?' });
    await expectNoViolations(page);
    await dialog.getByLabel('Password', { exact: true }).fill(user.password);
    await dialog.getByRole('button', { name: 'Delete my account' }).click();
    await page.waitForURL('**/console/sign-in');
    expect((await admin.get(`/v1/users/${user.id}`)).status).toBe(404);
  } finally {
    await server.stop();
    await database.drop();
  }
});
