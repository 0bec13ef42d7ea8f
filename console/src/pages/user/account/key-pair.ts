/** An Ed25519 key pair as PEM. */
export interface KeyPair {
  privateKey: string;
  publicKey: string;
}

/** Browsers give `crypto.subtle` to pages over HTTPS and on this machine only. */
export const canGenerate = window.isSecureContext;

/** Generates a key pair in the browser, so that the private key never leaves it. @throws if the browser lacks Ed25519 */
export async function generateKeyPair(): Promise<KeyPair> {
  const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  return {
    privateKey: toPem('PRIVATE', await crypto.subtle.exportKey('pkcs8', pair.privateKey)),
    publicKey: toPem('PUBLIC', await crypto.subtle.exportKey('spki', pair.publicKey)),
  };
}

function toPem(kind: string, der: ArrayBuffer): string {
  const text = btoa(String.fromCharCode(...new Uint8Array(der)));
  return `-----BEGIN ${kind} KEY-----\n${text}\n-----END ${kind} KEY-----\n`;
}
