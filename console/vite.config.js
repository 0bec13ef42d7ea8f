import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const OUT = fileURLToPath(new URL('dist', import.meta.url));

/** What the API serves; with `npm run dev` Vite passes these on to it. */
const API_PATHS = ['/v1', '/call', '/docs', '/openapi.json', '/livez', '/readyz', '/metrics'];

/** Writes a `.gz` and a `.br` beside each text file, so that the server need not compress them. */
function precompress() {
  return {
    name: 'precompress',
    apply: /** @type {const} */ ('build'),
    /**
     * @param {unknown} _options
     * @param {Record<string, unknown>} bundle
     */
    writeBundle(_options, bundle) {
      for (const name of Object.keys(bundle)) {
        const path = join(OUT, name);
        const content = readFileSync(path);
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
        writeFileSync(`${path}.br`, brotliCompressSync(content));
      }
    },
  };
}

export default defineConfig(({ command }) => {
  const target = process.env.API_URL ?? `http://127.0.0.1:${process.env.PORT ?? '3000'}`;
  const proxy = Object.fromEntries(API_PATHS.map((path) => [path, { target }]));
  return {
    // Relative when built: the server puts its BASE_PATH before the addresses in the page, and files name each other.
    base: command === 'build' ? './' : '/console/',
    plugins: [react(), precompress()],
    server: { proxy, host: '127.0.0.1' },
    preview: { proxy, host: '127.0.0.1' },
    build: {
      outDir: OUT,
      // The CSP allows no data: scripts or fonts, and names of files say what they hold.
      assetsInlineLimit: 0,
      reportCompressedSize: false,
      // scripts/build.js removes what is old once everything new is there.
      emptyOutDir: false,
      chunkSizeWarningLimit: 800,
    },
  };
});
