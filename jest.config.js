import { availableParallelism } from 'node:os';

/** @type {import('jest').Config} */
export default {
  roots: ['<rootDir>/src', '<rootDir>/test'],
  testRegex: ['/src/.*\\.spec\\.ts$', '/test/.*\\.test\\.ts$'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
          target: 'es2022',
        },
        module: { type: 'es6' },
      },
    ],
  },
  testEnvironment: '<rootDir>/test/support/environment.js',
  globalSetup: '<rootDir>/test/support/global-setup.js',
  globalTeardown: '<rootDir>/test/support/global-teardown.js',
  // By default Jest keeps a core for itself. More workers than cores: tests wait for servers, e-mails and restarts, and
  // others can work meanwhile.
  maxWorkers: Math.ceil(availableParallelism() * 1.5),
  // A build or a start takes minutes on a machine that is loaded tenfold; no test asserts how long anything took.
  testTimeout: 300_000,
};
