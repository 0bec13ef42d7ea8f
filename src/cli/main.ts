import { fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { text } from 'node:stream/consumers';
import { isolateFromShell } from '../config/shell.js';
import { STOP_SIGNALS } from '../process/signals.js';
import type { Io } from './command.js';
import { EXIT } from './exit-codes.js';
import { printError, run } from './run.js';
import { reasonOf } from './system-error.js';

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

/** Ends a command on a signal. Exit hooks delete unfinished files. */
function endOnSignals(): void {
  for (const signal of STOP_SIGNALS) {
    process.on(signal, () => {
      // The server, and a command that has started PostgreSQL, also listen and end in their own way.
      if (process.listenerCount(signal) === 1) process.exit(128 + constants.signals[signal]);
    });
  }
  process.on('exit', (code) => {
    if (code > 128) printError(args, io, 'Interrupted.', code);
  });
}

readEnvFile();
isolateFromShell();
const { stdout, stderr, env: variables } = process;
const io: Io = { variables, stdout, stderr, piped };
const args = process.argv.slice(2);
endOnSignals();
stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of a pipe, such as `head`, can end first.
  if (error.code === 'EPIPE') process.exit(EXIT.done);
  printError(args, io, `Standard output cannot be written: ${reasonOf(error)}.`, EXIT.failed);
  process.exit(EXIT.failed);
});
const code = await run(args, io);
// Writes to a pipe can be pending. After an error, its listener ends the process.
if (code !== null) {
  stdout.write('', (error) => {
    if (!error) process.exit(code);
  });
}
