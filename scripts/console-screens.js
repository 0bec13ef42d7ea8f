// Takes pictures of pages of the console, at the widths of a desktop and a phone, light and dark:
//
//   node scripts/console-screens.js --url http://127.0.0.1:3000 --out /tmp/screens --login admin overview users 'plans>New plan'
//
// A page with names behind `>` is taken after these buttons, tabs or menu entries are clicked, one after the other.
// The password is read from PASSWORD; without --login the pages are those for people who are not signed in.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SCHEMES, SIZES, startBrowser } from '../test/browser/chromium.js';

const { values, positionals } = parseArgs({
  options: { url: { type: 'string' }, out: { type: 'string' }, login: { type: 'string' } },
  allowPositionals: true,
});
const { url, out, login } = values;
const password = process.env.PASSWORD;
if (url === undefined || out === undefined || (login !== undefined && password === undefined)) {
  console.error('Usage: [PASSWORD=…] node scripts/console-screens.js --url URL --out FOLDER [--login LOGIN] PAGE…');
  process.exit(1);
}
mkdirSync(out, { recursive: true });

const browser = await startBrowser();
for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of SCHEMES) {
    const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error') console.error(`${page.url()}: ${message.text()}`);
    });
    if (login !== undefined && password !== undefined) {
      await page.goto(`${url}/console/sign-in`);
      await page.getByLabel('Username or e-mail address').fill(login);
      await page.getByLabel('Password', { exact: true }).fill(password);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('navigation').waitFor({ state: 'attached' });
    }
    for (const positional of positionals) {
      const [path, ...clicks] = positional.split('>');
      await page.goto(`${url}/console/${path}`, { waitUntil: 'networkidle' });
      for (const name of clicks) {
        const roles = /** @type {const} */ (['button', 'tab', 'menuitem', 'switch', 'radio']);
        const found = roles.map((role) => page.getByRole(role, { name }));
        await found
          .reduce((all, each) => all.or(each))
          .first()
          .click();
        await page.waitForLoadState('networkidle');
      }
      const name = positional.replaceAll(/[^\w.-]+/g, '-') || 'start';
      await page.screenshot({ path: join(out, `${name}-${size}-${colorScheme}.png`), fullPage: clicks.length === 0 });
    }
    await context.close();
  }
}
await browser.close();
