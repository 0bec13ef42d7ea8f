// Sends a request to Quartermaster, signed by RFC 9421 with an Ed25519 key. Needs Node 20.19 or newer, and nothing else.
//
//   KEY_ID=… PRIVATE_KEY=key.pem node sign.mjs METHOD URL [BODY]
//
// KEY_ID is the id that POST /v1/auth/signing-keys answered, PRIVATE_KEY the file with the private key (PEM).
// IDEMPOTENCY_KEY, where it is set, is sent and covered. Prints the answer, and its status to standard error.
import { createHash, createPrivateKey, randomUUID, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The headers that sign a request.
 * @param {{ keyId: string, privateKey: import('node:crypto').KeyObject }} key
 * @param {string} method in capitals
 * @param {string} address
 * @param {string | Uint8Array} [body] exactly as it will be sent
 * @param {Record<string, string>} [others] further headers to cover, by their names in lower case. Cover every header that
 * changes what the request does (`idempotency-key`, `if-match`, `if-none-match`); otherwise a proxy could alter it
 * @returns {Record<string, string>} with those
 */
export function signatureHeaders({ keyId, privateKey }, method, address, body, others = {}) {
  const url = new URL(address);
  // What is covered, and its values: RFC 9421, section 2.2.
  const covered = new Map([
    ['@method', method],
    // As in Host: in lower case, without the default port.
    ['@authority', url.host],
    // As in the request line: not decoded.
    ['@path', url.pathname],
  ]);
  if (url.search !== '') covered.set('@query', url.search);
  /** @type {Record<string, string>} */
  const headers = { ...others };
  for (const [name, value] of Object.entries(others)) covered.set(name, value.trim());
  if (body !== undefined && body.length > 0) {
    headers['content-digest'] = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
    covered.set('content-digest', headers['content-digest']);
  }
  // Seconds; a nonce is good once, so a request that is sent again is signed again.
  const created = Math.floor(Date.now() / 1000);
  const names = [...covered.keys()].map((name) => `"${name}"`).join(' ');
  const parameters = `(${names});created=${created};nonce="${randomUUID()}";keyid="${keyId}";alg="ed25519"`;
  // What is signed: RFC 9421, section 2.5. No line feed at the end.
  const lines = [...covered].map(([name, value]) => `"${name}": ${value}`);
  const base = [...lines, `"@signature-params": ${parameters}`].join('\n');
  return {
    ...headers,
    'signature-input': `sig=${parameters}`,
    signature: `sig=:${sign(null, Buffer.from(base), privateKey).toString('base64')}:`,
  };
}

// As a program of its own; another one imports the function above.
const [method = 'GET', address, body] = process.argv.slice(2);
if (process.argv[1] === fileURLToPath(import.meta.url) && address !== undefined) {
  const { KEY_ID = '', PRIVATE_KEY = 'key.pem', IDEMPOTENCY_KEY } = process.env;
  const key = { keyId: KEY_ID, privateKey: createPrivateKey(readFileSync(PRIVATE_KEY)) };
  const answer = await fetch(address, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...signatureHeaders(key, method, address, body, IDEMPOTENCY_KEY ? { 'idempotency-key': IDEMPOTENCY_KEY } : {}),
    },
    ...(body === undefined ? {} : { body }),
  });
  console.error(answer.status);
  console.log(await answer.text());
}
