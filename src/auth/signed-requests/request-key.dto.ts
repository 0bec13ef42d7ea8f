import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { ValidateBy } from 'class-validator';
import { ApiId, ApiTime } from '../../common/formats.js';
import { IsLabel, MayBeMissing } from '../../common/text.js';
import { toPem } from './public-key.js';
import type { RequestKey } from './request-key.entity.js';

const EXAMPLE =
  '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n';

/** Accepts a string or an object. `parsePublicKey` checks whether it is a key. */
const IsTextOrObject = (): PropertyDecorator =>
  ValidateBy({
    name: 'isTextOrObject',
    validator: {
      validate: (value) => typeof value === 'string' || (typeof value === 'object' && value !== null),
      defaultMessage: () => 'must be a string or a JWK',
    },
  });

export class CreateSigningKeyDto {
  /** The display name */
  @ApiProperty({ example: 'my server', minLength: 1, maxLength: 100 })
  @IsLabel(100)
  name!: string;

  /**
   * An Ed25519 public key as PEM (SPKI), as JWK (an object or its JSON text), or as base64 or base64url of its 32 bytes
   * or its SPKI. If it is missing, the server generates a key pair
   */
  @ApiPropertyOptional({
    oneOf: [
      { type: 'string', minLength: 1, maxLength: 8192 },
      { type: 'object', description: 'RFC 8037', additionalProperties: true },
    ],
    example: EXAMPLE,
  })
  @MayBeMissing()
  @IsTextOrObject()
  publicKey?: string | object;
}

/** A public key that verifies signed requests (RFC 9421). */
export class SigningKeyResponse {
  /**
   * The `keyid` of signatures
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  id!: string;

  /** @example my server */
  name!: string;

  /** PEM (SPKI), regardless of the form in which the key was registered */
  @ApiProperty({ example: EXAMPLE })
  publicKey!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;
}

/** A new signing key. */
export class NewSigningKeyResponse extends SigningKeyResponse {
  /**
   * PEM (PKCS#8), if the server generated the pair. Shown only once and never stored; a replayed response does not
   * contain it
   */
  @ApiPropertyOptional({ example: '-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n' })
  privateKey?: string;
}

/** One page of signing keys, newest first. */
export class SigningKeyPage {
  data!: SigningKeyResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toSigningKeyResponse(key: RequestKey): SigningKeyResponse {
  return { id: key.id, name: key.name, publicKey: toPem(key.publicKey), createdAt: key.createdAt.toISOString() };
}
