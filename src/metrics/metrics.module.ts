import { Module } from '@nestjs/common';
import { APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { QuotaModule } from '../quota/quota.module.js';
import { UsersModule } from '../users/users.module.js';
import { MetricsRetention } from './metrics-retention.js';
import { MetricsController } from './metrics.controller.js';
import { MetricsRepository } from './metrics.repository.js';
import { MetricsService } from './metrics.service.js';
import { Prometheus } from './prometheus.js';
import { PrometheusController } from './prometheus.controller.js';
import { RequestCount } from './request-count.entity.js';
import { RequestRecorder } from './request-recorder.js';
import { RequestStatistics } from './request-statistics.js';
import { UsageExport } from './usage-export.js';
import { UsageInterceptor } from './usage.interceptor.js';

/** Usage metrics for the API, billing exports and Prometheus. Writes only request statistics; reads everything else. */
@Module({
  imports: [TypeOrmModule.forFeature([RequestCount]), UsersModule, QuotaModule],
  controllers: [MetricsController, PrometheusController],
  providers: [
    MetricsService,
    MetricsRepository,
    UsageExport,
    RequestRecorder,
    RequestStatistics,
    Prometheus,
    MetricsRetention,
    { provide: APP_INTERCEPTOR, useClass: UsageInterceptor },
  ],
})
export class MetricsModule {
  constructor(host: HttpAdapterHost, recorder: RequestRecorder) {
    // For what answers requests outside of controllers. The commands of `npm run admin` have no HTTP server.
    const { httpAdapter } = host as { httpAdapter: HttpAdapterHost['httpAdapter'] | null };
    httpAdapter?.getInstance<FastifyInstance>().decorate('usage', recorder);
  }
}
