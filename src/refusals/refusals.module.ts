import { Module, type BeforeApplicationShutdown, type NestModule, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { Sweeper } from '../database/sweeper.js';
import { UsersModule } from '../users/users.module.js';
import { RefusalLog } from './refusal-log.js';
import { Refusal } from './refusal.entity.js';
import { RefusalsController } from './refusals.controller.js';
import { RefusalsRepository } from './refusals.repository.js';
import { RefusalsService } from './refusals.service.js';

const SWEEP_MS = 600_000;

/** Calls that were refused, and why. */
@Module({
  imports: [TypeOrmModule.forFeature([Refusal]), UsersModule],
  controllers: [RefusalsController],
  providers: [RefusalsService, RefusalsRepository, RefusalLog],
  exports: [RefusalLog],
})
export class RefusalsModule implements NestModule, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeper: Sweeper;

  constructor(
    private readonly host: HttpAdapterHost,
    private readonly log: RefusalLog,
    refusals: RefusalsRepository,
  ) {
    this.sweeper = new Sweeper(SWEEP_MS, () => refusals.deleteOld());
  }

  configure(): void {
    this.log.start();
    // When every request is answered, and before the connection pool closes.
    this.host.httpAdapter.getInstance<FastifyInstance>().addHook('onClose', () => this.log.stop());
  }

  onApplicationBootstrap(): void {
    this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }
}
