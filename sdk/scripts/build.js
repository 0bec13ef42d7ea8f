// Compiles src/ into dist/: ES modules and CommonJS, each with its types.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));

rmSync(`${root}dist`, { recursive: true, force: true });
for (const [folder, type, options] of /** @type {const} */ ([
  ['esm', 'module', {}],
  ['cjs', 'commonjs', { module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Bundler }],
])) {
  const config = ts.getParsedCommandLineOfConfigFile(
    `${root}tsconfig.json`,
    { ...options, outDir: `${root}dist/${folder}` },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  );
  if (!config) throw new Error('tsconfig.json cannot be read');
  const program = ts.createProgram(config.fileNames, config.options);
  const faults = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  if (faults.length > 0) {
    console.error(ts.formatDiagnostics(faults, ts.createCompilerHost(config.options)));
    process.exit(1);
  }
  mkdirSync(`${root}dist/${folder}`, { recursive: true });
  writeFileSync(`${root}dist/${folder}/package.json`, `${JSON.stringify({ type })}\n`);
}
