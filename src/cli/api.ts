import { Quartermaster } from '../../sdk/src/index.js';
import { UsageError, type Io } from './command.js';

export interface ApiOptions {
  url?: string;
}

/** A restart of the server takes seconds; with 5 retries a request waits for about five. */
const RETRIES = 5;

/** Milliseconds. To verify a long audit log takes minutes. */
const TIMEOUT = 300_000;

/**
 * Returns a client of the server that `--url` names; undefined if the command works on the database.
 * @throws UsageError if the address is invalid, or no credential is set
 */
export function clientFrom({ variables }: Io, { url }: ApiOptions): Quartermaster | undefined {
  if (url === undefined) return undefined;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError('--url must be the address of a server, like https://example.com.');
  }
  return new Quartermaster({
    url: url.replace(/\/+$/, ''),
    ...credentialFrom(variables),
    retries: RETRIES,
    timeout: TIMEOUT,
  });
}

/** Secrets are no arguments: other users of the machine can see these. */
function credentialFrom(variables: NodeJS.ProcessEnv) {
  const {
    QUARTERMASTER_TOKEN: token = '',
    QUARTERMASTER_SIGNING_KEY_ID: id = '',
    QUARTERMASTER_PRIVATE_KEY: privateKey = '',
  } = variables;
  if (token !== '') return { token: token.trim() };
  if (id !== '' && privateKey !== '') return { signingKey: { id, privateKey } };
  throw new UsageError(
    '--url requires a credential of an administrator: set QUARTERMASTER_TOKEN, or QUARTERMASTER_SIGNING_KEY_ID and QUARTERMASTER_PRIVATE_KEY.',
  );
}
