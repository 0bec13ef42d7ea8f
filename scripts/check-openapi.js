// `npm run openapi:check`: whether docs/openapi.json is valid and what two linters recommend. A warning is a failure.
// The linters are large and needed by nobody else: npx fetches them, each at the version that is named here.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import SwaggerParser from '@apidevtools/swagger-parser';

const root = fileURLToPath(new URL('..', import.meta.url));
const file = 'docs/openapi.json';

const LINTERS = [
  ['@redocly/cli@2.77.0', 'redocly', 'lint', file, '--format=stylish'],
  ['@stoplight/spectral-cli@6.16.3', 'spectral', 'lint', file, '--fail-severity=warn'],
];

let failed = 0;
try {
  await new SwaggerParser().validate(`${root}${file}`);
  console.log('ok      @apidevtools/swagger-parser');
} catch (error) {
  failed++;
  console.log(`FAILED  @apidevtools/swagger-parser\n${error instanceof Error ? error.message : String(error)}`);
}
for (const [name = '', ...command] of LINTERS) {
  const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const { status, stdout, stderr, error } = spawnSync('npx', ['--yes', `--package=${name}`, '--', ...command], {
    ...{ cwd: root, env, encoding: 'utf8' },
    shell: process.platform === 'win32',
  });
  if (status === 0) {
    console.log(`ok      ${name}`);
  } else {
    failed++;
    console.log(`FAILED  ${name}\n${error?.message ?? `${stdout}${stderr}`}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
