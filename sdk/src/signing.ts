/** `CryptoKey`, whose global type is not known everywhere. */
type CryptoKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

/** A key for signed requests (RFC 9421). */
export interface SigningKey {
  /** The id of the registered key. */
  id: string;
  /** The Ed25519 private key: PEM (PKCS #8), as the server hands it out, or a `CryptoKey`. */
  privateKey: string | CryptoKey;
}

/** Headers that a signature covers if the request has them: what is not covered can be changed on its way. */
const COVERED = ['idempotency-key', 'if-match', 'if-none-match'];

/** Signs requests with WebCrypto. Each call makes a new nonce, which the server accepts once. */
export class Signer {
  private readonly key: Promise<CryptoKey>;

  constructor(private readonly signingKey: SigningKey) {
    const { privateKey } = signingKey;
    this.key = typeof privateKey === 'string' ? importPem(privateKey) : Promise.resolve(privateKey);
    // `sign` reports the error.
    this.key.catch(() => undefined);
  }

  /** Adds `Content-Digest`, `Signature-Input` and `Signature` to the headers. */
  async sign(method: string, address: string, headers: Headers, body: ArrayBuffer | undefined): Promise<void> {
    const url = new URL(address);
    const hasBody = body !== undefined && body.byteLength > 0;
    if (hasBody) headers.set('content-digest', `sha-256=:${base64(await crypto.subtle.digest('SHA-256', body))}:`);
    const values: Record<string, string> = {
      ...{ '@method': method, '@authority': url.host, '@path': url.pathname, '@query': url.search },
      'content-digest': headers.get('content-digest') ?? '',
      ...Object.fromEntries(COVERED.map((name) => [name, headers.get(name)?.trim() ?? ''])),
    };
    const names = Object.keys(values).filter((name) => values[name] !== '');
    const created = Math.floor(Date.now() / 1_000);
    const input =
      `(${names.map((name) => `"${name}"`).join(' ')})` +
      `;created=${created};nonce="${crypto.randomUUID()}";keyid="${this.signingKey.id}";alg="ed25519"`;
    const base = [...names.map((name) => `"${name}": ${values[name] ?? ''}`), `"@signature-params": ${input}`].join(
      '\n',
    );
    const signature = await crypto.subtle.sign('Ed25519', await this.key, new TextEncoder().encode(base));
    headers.set('signature-input', `sig=${input}`);
    headers.set('signature', `sig=:${base64(signature)}:`);
  }
}

async function importPem(pem: string): Promise<CryptoKey> {
  const text = pem.replaceAll(/-----[^-]+-----|\s/g, '');
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return crypto.subtle.importKey('pkcs8', bytes, 'Ed25519', false, ['sign']);
}

function base64(bytes: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)));
}
