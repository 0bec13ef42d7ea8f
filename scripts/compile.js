// Compiles src/ into dist/ with TypeScript and the Swagger plugin: `nest build` without its type check, which takes two
// thirds of the time (`npm run typecheck` does it). Run by build.js in a process of its own, so that a server that builds
// before it starts does not keep the compiler's memory.
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { before } from '@nestjs/swagger/plugin';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * The name under which the compiler knows the project's folder. The Swagger plugin cannot read the type checker's spelling
 * of a folder such as `müller`, `a%20b` or `it's`, so it never gets to see the real one.
 */
const SHOWN = '/quartermaster';

/** @param {string} path as the compiler knows it */
const real = (path) => (path.startsWith(`${SHOWN}/`) || path === SHOWN ? join(root, path.slice(SHOWN.length)) : path);
/** @param {string} path in the project's folder */
const shown = (path) => `${SHOWN}/${path.slice(root.length).replaceAll('\\', '/')}`;

const files = {
  getCurrentDirectory: () => SHOWN,
  fileExists: (/** @type {string} */ path) => ts.sys.fileExists(real(path)),
  readFile: (/** @type {string} */ path) => ts.sys.readFile(real(path)),
  directoryExists: (/** @type {string} */ path) => ts.sys.directoryExists(real(path)),
  getDirectories: (/** @type {string} */ path) => ts.sys.getDirectories(real(path)),
  realpath: (/** @type {string} */ path) => path,
};

/**
 * @param {readonly ts.Diagnostic[]} diagnostics
 * @returns {never}
 */
function stop(diagnostics) {
  const host = {
    getCanonicalFileName: (/** @type {string} */ path) => path,
    getCurrentDirectory: () => SHOWN,
    getNewLine: () => '\n',
  };
  console.error(ts.formatDiagnostics(diagnostics, host).trimEnd());
  process.exit(1);
}

const config = ts.getParsedCommandLineOfConfigFile(
  `${SHOWN}/tsconfig.build.json`,
  { noCheck: true },
  {
    ...files,
    useCaseSensitiveFileNames: ts.sys.useCaseSensitiveFileNames,
    readDirectory: (path, ...rest) => ts.sys.readDirectory(real(path), ...rest).map(shown),
    onUnRecoverableConfigFileDiagnostic: (diagnostic) => stop([diagnostic]),
  },
);
if (!config) throw new Error('tsconfig.build.json cannot be read');
const { options, fileNames: rootNames, errors } = config;
const host = Object.assign(ts.createCompilerHost(options), files, {
  getDefaultLibLocation: () => `${SHOWN}/node_modules/typescript/lib`,
});
const program = ts.createProgram({ rootNames, options, host });
const nest = JSON.parse(host.readFile(`${SHOWN}/nest-cli.json`) ?? '{}');
const plugin = before(nest.compilerOptions.plugins[0].options, program);
const faults = [...errors, ...program.getOptionsDiagnostics(), ...program.getSyntacticDiagnostics()];
if (faults.length > 0) stop(faults);
/** @type {ts.WriteFileCallback} */
const write = (path, text) => {
  mkdirSync(dirname(real(path)), { recursive: true });
  writeFileSync(real(path), text);
};
const { diagnostics } = program.emit(undefined, write, undefined, undefined, { before: [plugin] });
if (diagnostics.length > 0) stop(diagnostics);
// SQL files are read at run time, from the same place (`assets` in nest-cli.json).
for (const name of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
  if (!name.endsWith('.sql')) continue;
  const copy = join(root, 'dist', 'src', name);
  mkdirSync(dirname(copy), { recursive: true });
  copyFileSync(join(root, 'src', name), copy);
}
