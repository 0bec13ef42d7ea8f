import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { variables } from '../src/config/env.js';
import { V8_FLAGS } from '../src/process/workers.js';

function read(name: string): Promise<string> {
  return readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8');
}

test.each(['package.json', 'bin/quartermaster.js', 'Dockerfile'])(
  '%s: starts Node with the flags of workers',
  async (name) => {
    // As in a shell, or as in the JSON of the image.
    const [command = ''] = /node"?,? "?--.*/.exec(await read(name)) ?? [];
    expect(command.match(/--[\w=-]+/g)).toEqual(V8_FLAGS);
  },
);

describe('docker-compose.yml and .env.example', () => {
  test('pass on and name every variable', async () => {
    // The image sets HOST, PORT and DATA_DIR.
    const wanted = variables().filter(
      (name) => !name.endsWith('_FILE') && !['HOST', 'PORT', 'DATA_DIR'].includes(name),
    );
    const app = (await read('docker-compose.yml')).split('\n  postgres:\n')[0] ?? '';
    expect([...app.matchAll(/^ {6}([A-Z_0-9]+): .*\$\{/gm)].map(([, name]) => name).sort()).toEqual(wanted.sort());
    const example = [...(await read('.env.example')).matchAll(/^(?:# )?([A-Z_0-9]+)=/gm)].map(([, name]) => name);
    const composed = wanted.map((name) => (name === 'DATABASE_URL' ? 'POSTGRES_PASSWORD' : name));
    expect(example.sort()).toEqual(composed.sort());
  });
});
