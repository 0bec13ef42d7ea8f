import { Module, type NestModule } from '@nestjs/common';
import { APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { QuotaModule } from '../quota/quota.module.js';
import { UsersModule } from '../users/users.module.js';
import { MetricsRetention } from './metrics-retention.js';
import { MetricsController } from './metrics.controller.js';
import { MetricsRepository } from './metrics.repository.js';
import { MetricsService } from './metrics.service.js';
import { NearLimitsController } from './near-limits/near-limits.controller.js';
import { NearLimitsService } from './near-limits/near-limits.service.js';
import { Prometheus } from './prometheus.js';
import { PrometheusController } from './prometheus.controller.js';
import { RequestCount } from './requests/request-count.entity.js';
import { RequestRecorder } from './requests/request-recorder.js';
import { RequestStatistics } from './requests/request-statistics.js';
import { UsageExport } from './usage-export.js';
import { UsageInterceptor } from './requests/usage.interceptor.js';

/** Usage metrics for the API, billing exports and Prometheus. Writes only request statistics; reads everything else. */
@Module({
  imports: [TypeOrmModule.forFeature([RequestCount]), UsersModule, QuotaModule],
  controllers: [MetricsController, NearLimitsController, PrometheusController],
  providers: [
    MetricsService,
    MetricsRepository,
    NearLimitsService,
    UsageExport,
    RequestRecorder,
    RequestStatistics,
    Prometheus,
    MetricsRetention,
    { provide: APP_INTERCEPTOR, useClass: UsageInterceptor },
  ],
})
export class MetricsModule implements NestModule {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly recorder: RequestRecorder,
    private readonly statistics: RequestStatistics,
  ) {}

  configure(): void {
    const server = this.host.httpAdapter.getInstance<FastifyInstance>();
    // For what answers requests outside of controllers.
    server.decorate('usage', this.recorder);
    this.statistics.start();
    // When every request is answered, and before the connection pool closes.
    server.addHook('onClose', () => this.statistics.stop());
  }
}
