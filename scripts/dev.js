// `npm run dev`: the server, started anew at each change of its sources, and the console with hot reload, whose requests
// Vite passes on to the server. Ends both when one ends.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { build } from './build.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js');

const code = build(true);
if (code !== 0) process.exit(code);

const children = [
  ['--watch-path=src', join('bin', 'quartermaster.js'), 'serve'],
  [vite, 'console', '--configLoader', 'native'],
].map((args) => spawn(process.execPath, args, { cwd: root, stdio: 'inherit' }));

/** @param {NodeJS.Signals} signal */
function stop(signal) {
  for (const child of children) child.kill(signal);
}

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, stop);
for (const child of children) {
  child.on('exit', (status) => {
    process.exitCode ??= status ?? 0;
    stop('SIGTERM');
  });
}
