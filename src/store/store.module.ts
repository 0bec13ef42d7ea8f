import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../users/users.module.js';
import { StoreEntry } from './store-entry.entity.js';
import { StoreSweeper } from './store-sweeper.js';
import { StoreController } from './store.controller.js';
import { StoreRepository } from './store.repository.js';
import { StoreService } from './store.service.js';

/** The store: JSON values under keys. */
@Module({
  imports: [TypeOrmModule.forFeature([StoreEntry]), UsersModule],
  controllers: [StoreController],
  providers: [StoreService, StoreRepository, StoreSweeper],
})
export class StoreModule {}
