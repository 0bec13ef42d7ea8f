import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { variables } from '../src/config/env.js';

describe('docker-compose.yml and .env.example', () => {
  test('pass on and name every variable', async () => {
    const read = (name: string): Promise<string> =>
      readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8');
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
