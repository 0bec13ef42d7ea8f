import { Module, type NestModule } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { User } from '../../users/user.entity.js';
import { watchContentDigests } from './content-digest.js';
import { RequestKey } from './request-key.entity.js';
import { RequestKeysController } from './request-keys.controller.js';
import { RequestKeysRepository } from './request-keys.repository.js';
import { RequestKeysService } from './request-keys.service.js';
import { RequestSignatures } from './request-signatures.js';
import { SignaturesRepository } from './signatures.repository.js';

/** Requests signed with a key pair (RFC 9421). */
@Module({
  imports: [TypeOrmModule.forFeature([RequestKey, User])],
  controllers: [RequestKeysController],
  providers: [RequestSignatures, SignaturesRepository, RequestKeysService, RequestKeysRepository],
  exports: [RequestSignatures],
})
export class SignedRequestsModule implements NestModule {
  constructor(private readonly host: HttpAdapterHost) {}

  configure(): void {
    watchContentDigests(this.host.httpAdapter.getInstance());
  }
}
