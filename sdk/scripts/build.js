// Compiles src/ into dist/: ES modules and CommonJS, each with its types. `npm run typecheck` in the project's folder
// checks the types; here that would take most of the time.
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const esm = `${root}dist/esm`;
const cjs = `${root}dist/cjs`;

rmSync(`${root}dist`, { recursive: true, force: true });
const config = ts.getParsedCommandLineOfConfigFile(
  `${root}tsconfig.json`,
  { noCheck: true, outDir: esm },
  { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
);
if (!config) throw new Error('tsconfig.json cannot be read');
const program = ts.createProgram(config.fileNames, config.options);
const faults = [...config.errors, ...program.getSyntacticDiagnostics(), ...program.emit().diagnostics];
if (faults.length > 0) {
  console.error(ts.formatDiagnostics(faults, ts.createCompilerHost(config.options)));
  process.exit(1);
}
mkdirSync(cjs);
for (const name of readdirSync(esm)) copyFileSync(`${esm}/${name}`, `${cjs}/${name}`);
const compilerOptions = { ...config.options, module: ts.ModuleKind.CommonJS };
for (const name of readdirSync(`${root}src`)) {
  const { outputText } = ts.transpileModule(readFileSync(`${root}src/${name}`, 'utf8'), {
    compilerOptions,
    fileName: name,
  });
  writeFileSync(`${cjs}/${name.replace(/ts$/, 'js')}`, outputText);
}
writeFileSync(`${esm}/package.json`, '{"type":"module"}\n');
writeFileSync(`${cjs}/package.json`, '{"type":"commonjs"}\n');
