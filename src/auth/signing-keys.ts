import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  randomBytes,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { Injectable, type OnModuleInit } from '@nestjs/common';
import { ConfigError } from '../config/env.js';
import { Secrets } from '../config/secrets.js';
import { SigningKeysRepository } from './signing-keys.repository.js';

/** RFC 7517, with what a verifier of RS256 needs. */
export interface PublicJwk extends JsonWebKey {
  kid: string;
  alg: 'RS256';
  use: 'sig';
}

const NONCE = 12;
const TAG = 16;

/**
 * The key pair of the access tokens: made at the first start, kept in the database under a seal of SECRET_KEY, the
 * same on every node. Parsed once: `jsonwebtoken` given a text parses it at every call, thirteen times slower.
 */
@Injectable()
export class SigningKeys implements OnModuleInit {
  kid = '';
  private pair: { privateKey: KeyObject; publicKey: KeyObject } | undefined;

  constructor(
    private readonly keys: SigningKeysRepository,
    private readonly secrets: Secrets,
  ) {}

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

  /** The public keys, for whoever checks access tokens without asking here. */
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
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv('aes-256-gcm', this.sealingKey, nonce).setAAD(Buffer.from(kid));
    const sealed = Buffer.concat([cipher.update(privateKey.export({ format: 'der', type: 'pkcs8' })), cipher.final()]);
    return { kid, privateKeySealed: Buffer.concat([nonce, cipher.getAuthTag(), sealed]) };
  }

  private open(kid: string, sealed: Buffer): KeyObject {
    const decipher = createDecipheriv('aes-256-gcm', this.sealingKey, sealed.subarray(0, NONCE))
      .setAAD(Buffer.from(kid))
      .setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
    try {
      const key = Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]);
      return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
    } catch {
      throw new ConfigError('SECRET_KEY is not the one this database was set up with.');
    }
  }

  private get sealingKey(): Buffer {
    return this.secrets.derive('signing-key');
  }
}
