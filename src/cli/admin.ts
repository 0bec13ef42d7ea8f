/** Commands for the operator of the machine: `npm run admin -- reset-password [login]`, `… disable-totp [login]`. */
import { fstatSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { isolateFromShell } from '../config/shell.js';
import { explainStart } from '../process/start-error.js';
import { runAdmin } from './run-admin.js';

/** A pipe that has not ended after this time, in milliseconds, may be one that nobody writes to. */
const PATIENCE_MS = 2_000;

/** Returns the text of a pipe or file at standard input; undefined for a terminal, and for an empty input. */
async function pipedPassword(): Promise<string | undefined> {
  const input = fstatSync(0);
  if (!input.isFIFO() && !input.isFile() && !input.isSocket()) return undefined;
  const notice = setTimeout(() => {
    console.error('Reading the new password from standard input.');
  }, PATIENCE_MS);
  const password = (await text(process.stdin)).replace(/\r?\n$/, '');
  clearTimeout(notice);
  return password === '' ? undefined : password;
}

try {
  isolateFromShell();
  console.log(await runAdmin(process.argv.slice(2), process.env, pipedPassword));
  process.exit(0);
} catch (error) {
  console.error(explainStart(error));
  process.exit(1);
}
