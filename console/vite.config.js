import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const OUT = fileURLToPath(new URL('dist', import.meta.url));

/** What the API serves; with `npm run dev` Vite passes these on to it. */
const API_PATHS = ['/v1', '/call', '/docs', '/openapi.json', '/livez', '/readyz'];

/** Writes a `.gz` and a `.br` beside each text file, so that the server need not compress them. */
function precompress() {
  return {
    name: 'precompress',
    apply: /** @type {const} */ ('build'),
    closeBundle() {
      for (const name of readdirSync(OUT, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(js|css|html|svg)$/.test(name)) continue;
        const content = readFileSync(join(OUT, name));
        writeFileSync(join(OUT, `${name}.gz`), gzipSync(content, { level: 9 }));
        writeFileSync(join(OUT, `${name}.br`), brotliCompressSync(content));
      }
    },
  };
}

export default defineConfig(() => {
  const target = process.env.API_URL ?? `http://127.0.0.1:${process.env.PORT ?? '3000'}`;
  const proxy = Object.fromEntries(API_PATHS.map((path) => [path, { target }]));
  return {
    base: '/console/',
    plugins: [react(), precompress()],
    server: { proxy, host: '127.0.0.1' },
    preview: { proxy, host: '127.0.0.1' },
    build: {
      outDir: OUT,
      // The CSP allows no data: scripts or fonts, and names of files say what they hold.
      assetsInlineLimit: 0,
      reportCompressedSize: false,
    },
  };
});
