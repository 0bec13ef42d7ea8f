import { readdirSync } from 'node:fs';
import js from '@eslint/js';
import importX from 'eslint-plugin-import-x';
import jest from 'eslint-plugin-jest';
import jsxA11y from 'eslint-plugin-jsx-a11y';
import reactHooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import tseslint from 'typescript-eslint';

const BASE = ['http', 'database', 'common', 'config'];
const ACCOUNTS = ['users', 'platform', 'audit', 'idempotency', ...BASE];

/**
 * The direction of imports: each folder of src/ may import itself and those named here; only the files directly in
 * src/, src/process and src/cli see everything. Acyclic by construction.
 */
const MAY_IMPORT = {
  config: [],
  common: ['config'],
  http: ['common', 'config'],
  'embedded-postgres': ['common', 'config'],
  database: ['embedded-postgres', 'common', 'config'],
  idempotency: BASE,
  audit: BASE,
  mail: ['database', 'common', 'config'],
  passwords: ['http', 'common', 'config'],
  platform: ['audit', ...BASE],
  users: ['passwords', 'mail', 'platform', 'audit', 'idempotency', ...BASE],
  auth: ['passwords', 'mail', ...ACCOUNTS],
  quota: ACCOUNTS,
  plans: ['quota', ...ACCOUNTS],
  store: ['quota', ...ACCOUNTS],
  resources: ['quota', ...ACCOUNTS],
  tasks: ['quota', ...ACCOUNTS],
  keys: ['quota', ...ACCOUNTS],
  refusals: ['quota', ...ACCOUNTS],
  apis: ['keys', 'refusals', 'quota', ...ACCOUNTS],
  metrics: ['quota', 'users', 'audit', ...BASE],
};

/** Folders that may import everything. */
const UNBOUND = ['process', 'cli'];

for (const { name } of readdirSync(new URL('src', import.meta.url), { withFileTypes: true }).filter((entry) =>
  entry.isDirectory(),
)) {
  if (!(name in MAY_IMPORT) && !UNBOUND.includes(name)) {
    throw new Error(`Add src/${name} to MAY_IMPORT in eslint.config.js, with the folders that it may import.`);
  }
}

const zones = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  target: `./src/${folder}`,
  from: './src',
  except: [`./${folder}`, ...allowed.map((name) => `./${name}`)],
  message: `src/${folder} may import only ${allowed.join(', ') || 'nothing of src'} (see eslint.config.js).`,
}));

const NO_TYPEORM = {
  paths: [
    { name: 'typeorm', message: 'Only repositories, statements, entities and src/database import typeorm.' },
    { name: '@nestjs/typeorm', message: 'Only repositories, modules and src/database import @nestjs/typeorm.' },
  ],
};

/** The only files that may import typeorm or hold SQL. */
const DATA_LAYER = ['src/**/*.repository.ts', 'src/**/*.statements.ts', 'src/**/*.entity.ts', 'src/database/**'];

const SQL = String.raw`/^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|LOCK TABLE|TRUNCATE|MERGE)\s/`;

/** Raw statements have a reason, and a place of their own. */
const NO_SQL = [`Literal[value=${SQL}]`, `TemplateElement[value.raw=${SQL}]`].map((selector) => ({
  selector,
  message: 'Use Repository or its QueryBuilder; a raw statement goes to x.statements.ts, with its reason.',
}));

/** See docs/decisions/0023. */
const NO_SURPRISES = [
  {
    selector: "CallExpression[callee.object.name='tx'][callee.property.name='query']",
    message:
      'Use Database.query(statement, values, tx): EntityManager.query returns other results for UPDATE and DELETE.',
  },
  {
    selector: "CallExpression[callee.object.name='tx'][callee.property.name='transaction']",
    message: 'Use Database.within: it checks that the transaction was committed.',
  },
];

const NO_SAVE = {
  selector: 'CallExpression[callee.property.name=/^(save|remove|softRemove|upsert)$/]',
  message:
    'Use insert, update or delete with the owner in the condition: save() overwrites the row of any owner, and upsert() also sets the key.',
};

export default tseslint.config(
  {
    ignores: ['**/dist', 'data', '**/node_modules', 'coverage', 'sdk/src/schema.ts'],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: {
      // Without it, no-cycle reads no file of TypeScript.
      'import-x/extensions': ['.ts', '.tsx', '.js'],
      'import-x/resolver-next': [
        importX.createNodeResolver({ extensions: ['.ts', '.tsx', '.js'], extensionAlias: { '.js': ['.ts', '.js'] } }),
      ],
    },
    rules: {
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // DTO classes describe plain objects; they have no behaviour that a literal could lack.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // Code points are what is meant wherever a text is spread here.
      '@typescript-eslint/no-misused-spread': 'off',
      'import-x/no-restricted-paths': ['error', { zones }],
      'import-x/no-cycle': ['error', { ignoreExternal: true }],
      'no-console': 'error',
      eqeqeq: 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: [...DATA_LAYER, 'src/**/*.module.ts'],
    rules: { 'no-restricted-imports': ['error', NO_TYPEORM] },
  },
  { files: ['src/**/*.ts'], rules: { 'no-restricted-syntax': ['error', ...NO_SQL, ...NO_SURPRISES] } },
  {
    files: ['src/**/*.statements.ts', 'src/**/*.entity.ts', 'src/database/**', 'src/**/*.spec.ts'],
    rules: { 'no-restricted-syntax': ['error', ...NO_SURPRISES] },
  },
  {
    files: ['src/**/*.repository.ts'],
    rules: { 'no-restricted-syntax': ['error', ...NO_SQL, ...NO_SURPRISES, NO_SAVE] },
  },
  // Nest injects by the type's value and validates by it: an `import type` of either erases it silently.
  {
    files: [
      'src/**/*.controller.ts',
      'src/**/*.service.ts',
      'src/**/*.repository.ts',
      'src/**/*.guard.ts',
      'src/**/*.module.ts',
    ],
    rules: { '@typescript-eslint/consistent-type-imports': 'off' },
  },
  { files: ['test/support/globals.d.ts'], rules: { 'no-var': 'off' } },
  // What the operator reads at a start is text, not a log line.
  {
    files: [
      'src/main.ts',
      'src/process/primary.ts',
      'src/process/server.ts',
      'src/process/workers.ts',
      'src/openapi.ts',
      'src/cli/*.ts',
    ],
    rules: { 'no-console': 'off' },
  },
  {
    files: ['test/**/*.ts', 'src/**/*.spec.ts'],
    extends: [jest.configs['flat/recommended']],
    rules: {
      // Answers of the API are looked at as they come.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/restrict-plus-operands': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      'jest/expect-expect': ['error', { assertFunctionNames: ['expect', 'expect*'] }],
    },
  },
  {
    files: ['console/src/**/*.{ts,tsx}'],
    extends: [reactHooks.configs.flat.recommended, jsxA11y.flatConfigs.recommended],
    rules: {
      // The router's redirect is thrown by design.
      '@typescript-eslint/only-throw-error': [
        'error',
        { allow: [{ from: 'package', package: '@tanstack/router-core', name: 'Redirect' }] },
      ],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: { globals: globals.node },
    rules: { 'no-console': 'off' },
  },
);
