import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { Injectable, type OnModuleInit } from '@nestjs/common';
import { ConfigError } from '../../config/env.js';
import { Seal } from '../../config/seal.js';
import { Secrets } from '../../config/secrets.js';
import { SigningKeysRepository } from './signing-keys.repository.js';

/** RFC 7517, with the members that a verifier of RS256 needs. */
export interface PublicJwk extends JsonWebKey {
  kid: string;
  alg: 'RS256';
  use: 'sig';
}

/**
 * The key pair of the access tokens. It is created at the first start, stored in the database sealed with SECRET_KEY,
 * and the same on every node. Parsed once: `jsonwebtoken` parses a key given as text at every call, thirteen times
 * slower.
 */
@Injectable()
export class SigningKeys implements OnModuleInit {
  kid = '';
  private readonly seal: Seal;
  private pair: { privateKey: KeyObject; publicKey: KeyObject } | undefined;

  constructor(
    private readonly keys: SigningKeysRepository,
    secrets: Secrets,
  ) {
    this.seal = new Seal(secrets.derive('signing-key'));
  }

  async onModuleInit(): Promise<void> {
    const row = (await this.keys.findNewest()) ?? (await this.keys.insertFirst(await this.make()));
    const privateKey = this.open(row.kid, row.privateKeySealed);
    this.kid = row.kid;
    this.pair = { privateKey, publicKey: createPublicKey(privateKey) };
  }

  get privateKey(): KeyObject {
    return this.loaded.privateKey;
  }

  get publicKey(): KeyObject {
    return this.loaded.publicKey;
  }

  /** Returns the public keys, for programs that verify access tokens themselves. */
  jwks(): { keys: PublicJwk[] } {
    return { keys: [{ ...this.publicKey.export({ format: 'jwk' }), kid: this.kid, alg: 'RS256', use: 'sig' }] };
  }

  private get loaded(): { privateKey: KeyObject; publicKey: KeyObject } {
    if (!this.pair) throw new Error('The signing key is not loaded yet');
    return this.pair;
  }

  private async make(): Promise<{ kid: string; privateKeySealed: Buffer }> {
    const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
    const { e, kty, n } = publicKey.export({ format: 'jwk' });
    // RFC 7638: the members in lexical order, without white space.
    const kid = createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url');
    return { kid, privateKeySealed: this.seal.seal(privateKey.export({ format: 'der', type: 'pkcs8' }), kid) };
  }

  private open(kid: string, sealed: Buffer): KeyObject {
    try {
      return createPrivateKey({ key: this.seal.open(sealed, kid), format: 'der', type: 'pkcs8' });
    } catch {
      throw new ConfigError('SECRET_KEY is not the one this database was set up with.');
    }
  }
}
