import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../../users/users.module.js';
import { TokensModule } from '../tokens/tokens.module.js';
import { SessionCookie } from './session-cookie.js';
import { Session } from './session.entity.js';
import { SessionsRepository } from './sessions.repository.js';
import { SessionsService } from './sessions.service.js';

/** Sessions: start, refresh, list and end. */
@Module({
  imports: [TypeOrmModule.forFeature([Session]), UsersModule, TokensModule],
  providers: [SessionsService, SessionsRepository, SessionCookie],
  exports: [SessionsService, SessionsRepository, SessionCookie],
})
export class SessionsModule {}
