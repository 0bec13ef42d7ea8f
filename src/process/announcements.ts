import { existsSync } from 'node:fs';
import { VERSION } from '../config/version.js';

/** The built console, if this installation has it. */
const CONSOLE = new URL('../../../console/dist/index.html', import.meta.url);

/** Prints where the server listens. */
export function announceServer(origin: string): void {
  const addresses = {
    ...(existsSync(CONSOLE) ? { console: `${origin}/console` } : {}),
    docs: `${origin}/docs`,
    health: `${origin}/readyz`,
  };
  const message = `Quartermaster ${VERSION} listens on ${origin}`;
  print(message, addresses);
}

/** Prints that everything has stopped: nothing was cut off. */
export function announceStop(): void {
  print('Quartermaster stopped', {});
}

/** Prints the random password of the first administrator at once, because it cannot be read again. */
export function announceAdmin({ username, password }: { username: string; password: string }): void {
  print('Administrator created (the password is shown only once)', { username, password });
}

/** Prints aligned lines on a terminal, and a JSON line like those of the log elsewhere. */
function print(message: string, fields: Record<string, string>): void {
  if (process.stdout.isTTY) {
    const width = Math.max(...Object.keys(fields).map((name) => name.length));
    const lines = Object.entries(fields).map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`);
    process.stdout.write(`\n${message}\n${lines.join('')}`);
  } else {
    const line = { level: 30, time: new Date().toISOString(), pid: process.pid, msg: message, ...fields };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}
