import { Module } from '@nestjs/common';
import { HealthController } from './health.controller.js';

/** The platform as a whole. */
@Module({ controllers: [HealthController] })
export class PlatformModule {}
