import { sharedApi } from '../support/api.js';
import { ADMIN, openPage, signIn } from './browser.js';

const api = sharedApi();

/** Texts that would run a script if a page took them as markup or as an address. */
const HOSTILE = [
  '<script>window.ran = true</script>',
  '<img src=x onerror="window.ran = true">',
  '<svg onload="window.ran = true">',
  'javascript:window.ran=true',
  '"><iframe srcdoc="<script>parent.ran = true</script>">',
  '{{constructor.constructor("window.ran = true")()}}',
];

const USER_PAGES = ['usage', 'keys', 'store', 'resources', 'tasks', 'account', 'refusals'];
const ADMIN_PAGES = ['overview', 'users', 'plans', 'apis', 'platform', 'audit', 'export', 'refusals'];

test('hostile texts in all that a user can set: shown as text on every page, and nothing runs', async () => {
  const user = await api.createUser({ lastName: 'O’Brien' });
  const mine = api.as(user);
  const admin = await api.admin();
  let key = { id: '', key: '' };
  for (const text of HOSTILE) {
    key = await mine.createKey({ name: text });
    expect((await mine.post('/v1/resources', { value: text })).status).toBe(201);
    expect((await mine.post('/v1/tasks', { title: text })).status).toBe(201);
    expect((await mine.post('/v1/store/write', { entries: [{ key: text, value: { [text]: text } }] })).status).toBe(
      200,
    );
    expect((await mine.post('/v1/auth/signing-keys', { name: text })).status).toBe(201);
    const login = { login: user.username, password: user.password };
    await api.post('/v1/auth/login', login, { headers: { 'user-agent': text } });
    // Administrators see these.
    const slug = await api.createApi({ name: text, answer: text });
    await api.call(slug, key);
    await admin.post('/v1/plans', { slug: `p${slug}`, name: text });
    await admin.post(`/v1/users/${user.id}/credits`, { amount: 1, reason: text });
  }
  // The server rejects names that contain these characters.
  expect((await mine.patch('/v1/users/me', { firstName: HOSTILE[0] })).status).toBe(400);

  const ownPages = [...USER_PAGES, `keys/${key.id}`, `store?prefix=${encodeURIComponent('<script>window.ran = true')}`];
  const adminPages = [...ADMIN_PAGES, `users/${user.id}`];
  for (const [login, paths] of [
    [user, ownPages],
    [ADMIN, adminPages],
  ] as const) {
    const page = await openPage('/sign-in');
    const problems: string[] = [];
    page.on('dialog', (dialog) => {
      problems.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) problems.push(message.text());
    });
    await signIn(page, login);
    for (const path of paths) {
      await page.goto(`/console/${path}`, { waitUntil: 'networkidle' });
      await page.getByRole('heading', { level: 1 }).waitFor();
      expect({ path, ran: await page.evaluate(() => 'ran' in globalThis) }).toEqual({ path, ran: false });
      const markup = await page.locator('iframe, img[src=x], a[href^="javascript:" i]').count();
      expect({ path, markup }).toEqual({ path, markup: 0 });
    }
    expect(problems).toEqual([]);
  }
});

test('hostile texts: an entry of the store is opened and shown as text', async () => {
  const user = await api.createUser();
  const [text] = HOSTILE;
  await api.as(user).post('/v1/store/write', { entries: [{ key: text, value: text }] });
  const page = await openPage('/store');
  await signIn(page, user);
  await page.getByRole('button', { name: text!, exact: true }).click();
  await page.getByRole('textbox', { name: 'Value', exact: true }).getByText(text!).waitFor();
  expect(await page.evaluate(() => 'ran' in globalThis)).toBe(false);
});

test('the policy: a script that gets into a page does not run', async () => {
  const page = await openPage('/sign-in');
  await page.getByRole('heading', { level: 1 }).waitFor();
  const blocked = await page.evaluate(async () => {
    const { document, addEventListener } = globalThis as any;
    const violations: string[] = [];
    addEventListener('securitypolicyviolation', (event: any) => violations.push(event.effectiveDirective));
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    document.body.append(script);
    const image = document.createElement('div');
    image.innerHTML = '<img src="data:," onerror="window.ran = true">';
    document.body.append(image);
    await new Promise((resolve) => {
      const check = (): void => {
        if (violations.length >= 2) resolve(undefined);
        else setTimeout(check, 20);
      };
      check();
    });
    return violations.toSorted();
  });
  expect(blocked).toEqual(['script-src-attr', 'script-src-elem']);
  expect(await page.evaluate(() => 'ran' in globalThis)).toBe(false);
});
