import { fstatSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { isolateFromShell } from '../config/shell.js';
import { run } from './run.js';

/** After this time, in milliseconds, a message says that the command waits for standard input. */
const PATIENCE_MS = 2_000;

/** Returns the text of a pipe or file at standard input; undefined for a terminal, and for an empty input. */
async function piped(what: string): Promise<string | undefined> {
  const input = fstatSync(0);
  if (!input.isFIFO() && !input.isFile() && !input.isSocket()) return undefined;
  const notice = setTimeout(() => {
    console.error(`Reading ${what} from standard input.`);
  }, PATIENCE_MS);
  const read = (await text(process.stdin)).replace(/\r?\n$/, '');
  clearTimeout(notice);
  return read === '' ? undefined : read;
}

/** Reads `.env` in the current folder. Variables that are set already keep their values. */
function readEnvFile(): void {
  try {
    process.loadEnvFile();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    console.error(`The file .env cannot be read: ${message}`);
    process.exit(1);
  }
}

readEnvFile();
isolateFromShell();
const { stdout, stderr, env: variables } = process;
// The reader of a pipe, such as `head`, can end first.
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
const code = await run(process.argv.slice(2), { variables, stdout, stderr, piped });
// Writes to a pipe can be pending.
if (code !== null) stdout.write('', () => process.exit(code));
