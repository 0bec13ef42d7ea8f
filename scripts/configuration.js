// `npm run docs:configuration`: makes docs/configuration.md of the class Env in src/config/env.ts. Names, groups and
// meanings are its comments. Defaults are its fields when no variable is set. The allowed values are what its errors say.
// With --check: fails if the page differs.
import { readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import prettier from 'prettier';
import { Env, variables } from '../dist/src/config/env.js';

const source = fileURLToPath(new URL('../src/config/env.ts', import.meta.url));
const page = fileURLToPath(new URL('../docs/configuration.md', import.meta.url));

const INTRODUCTION = `# Configuration

<!-- Made of src/config/env.ts by \`npm run docs:configuration\`. Do not edit this page. -->

The server reads environment variables once, when it starts. \`quartermaster doctor\` checks them without starting the server.

- **A file \`.env\`** in the current folder is read too, one \`NAME=value\` a line. Variables that are set override it.
- **An invalid value** stops the start with one line that names the variable and the allowed values.
- Whitespace around a value and one pair of quotes are removed. An empty value counts as unset.
- **Secrets in files**: some variables have a second name that ends in \`_FILE\`, for the path of a file with the value
  (\`ADMIN_PASSWORD_FILE=/run/secrets/admin\`). Set only one of the two.
- Variables of libpq (\`PGOPTIONS\`, \`PGSSLMODE\`, …) and \`TZ\` have no effect.
`;

/**
 * The groups of fields of the class, with the variable and the meaning of each field.
 * @param {string} code
 */
function groupsOf(code) {
  const [, fields = ''] = /\nexport class Env \{\n([^]*?)\n {2}\/\*\* @throws/.exec(code) ?? [];
  return fields.split(/^ {2}\/\/ /m).flatMap((group) => {
    const [title = '', ...lines] = group.split('\n');
    const entries = [...lines.join('\n').matchAll(/\/\*\*([^]*?)\*\/\s*readonly (\w+)/g)].map(
      ([, comment = '', field = '']) => {
        const text = comment.replaceAll(/\s*\n\s*\* ?/g, ' ').trim();
        const [, name = '', first = '', rest = ''] = /^([A-Z0-9_]+): (.)(.*)$/.exec(text) ?? [];
        return { field, name, meaning: first.toUpperCase() + rest };
      },
    );
    return entries.length === 0 ? [] : [{ title, entries }];
  });
}

/**
 * What the error about an impossible value says is allowed; empty if the class accepts any text.
 * @param {string} name
 */
function allowedIn(name) {
  try {
    new Env({ [name]: '?' });
    return '';
  } catch (error) {
    const message = error instanceof Error ? error.message : '';
    return message
      .replace(/^.*; allowed: /, '')
      .replace(new RegExp(`^${name} must (be |have )?`), '')
      .replace(/; it has \d+\.$|\.$/, '')
      .replace(/^start /, 'starts ');
  }
}

/** @param {unknown} value */
function shown(value) {
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return '';
  if (typeof value === 'boolean') return value ? '`on`' : '`off`';
  return `\`${String(value)}\``;
}

/**
 * Changes the parts of a Markdown text that are not code.
 * @param {string} text
 * @param {(part: string) => string} change
 */
function outsideCode(text, change) {
  return text
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? part : change(part)))
    .join('');
}

/**
 * Markdown for a cell: variables and addresses as code, pages of docs/ as links.
 * @param {string} text
 */
function cell(text) {
  const marked = outsideCode(text, (part) =>
    part.replaceAll(/\b[A-Z]+_[A-Z_]+\b|\b(?:HOST|PORT)\b|https?:\/\/[\w.-]+/g, '`$&`'),
  );
  return outsideCode(marked, (part) =>
    part.replaceAll(/[<*|_~]/g, '\\$&').replaceAll(/docs\/([\w-]+\.md)/g, '[$1]($1)'),
  );
}

async function render() {
  const defaults = { ...new Env({}) };
  Object.assign(defaults, { dataDir: `./${relative('.', defaults.dataDir)}`, trustProxy: undefined });
  const fromFile = variables().filter((name) => name.endsWith('_FILE'));
  const groups = groupsOf(readFileSync(source, 'utf8'));
  const documented = groups.flatMap(({ entries }) => entries.map(({ name }) => name));
  const read = variables().filter((name) => !fromFile.includes(name));
  const missing = read.filter((name) => !documented.includes(name));
  if (missing.length > 0) throw new Error(`Not documented in src/config/env.ts: ${missing.join(', ')}`);
  const sections = groups.map(({ title, entries }) => {
    const rows = entries.map(({ field, name, meaning }) => {
      const file = fromFile.includes(`${name}_FILE`) ? ` Second name: \`${name}_FILE\`.` : '';
      const value = shown(/** @type {Record<string, unknown>} */ (defaults)[field]);
      return `| \`${name}\` | ${value} | ${cell(allowedIn(name))} | ${cell(meaning)}${file} |`;
    });
    return [`## ${title}`, '', '| variable | default | allowed | meaning |', '|---|---|---|---|', ...rows, ''].join(
      '\n',
    );
  });
  const options = await prettier.resolveConfig(page);
  return prettier.format([INTRODUCTION, ...sections].join('\n'), { ...options, parser: 'markdown' });
}

const text = await render();
if (!process.argv.includes('--check')) {
  writeFileSync(page, text);
} else if (readFileSync(page, 'utf8') !== text) {
  console.error('docs/configuration.md is not what src/config/env.ts says: run `npm run docs:configuration`.');
  process.exit(1);
}
