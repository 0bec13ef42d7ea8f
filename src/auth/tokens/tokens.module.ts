import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccessTokens } from './access-tokens.js';
import { JwksController } from './jwks.controller.js';
import { RefreshTokens } from './refresh-tokens.js';
import { SigningKey } from './signing-key.entity.js';
import { SigningKeys } from './signing-keys.js';
import { SigningKeysRepository } from './signing-keys.repository.js';

/** Access and refresh tokens, and the keys that sign them. */
@Module({
  imports: [TypeOrmModule.forFeature([SigningKey])],
  controllers: [JwksController],
  providers: [AccessTokens, RefreshTokens, SigningKeys, SigningKeysRepository],
  exports: [AccessTokens, RefreshTokens, SigningKeys],
})
export class TokensModule {}
