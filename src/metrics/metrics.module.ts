import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { QuotaModule } from '../quota/quota.module.js';
import { UsersModule } from '../users/users.module.js';
import { MetricsRetention } from './metrics-retention.js';
import { MetricsController } from './metrics.controller.js';
import { MetricsRepository } from './metrics.repository.js';
import { MetricsService } from './metrics.service.js';
import { Prometheus } from './prometheus.js';
import { PrometheusController } from './prometheus.controller.js';
import { RequestCount } from './request-count.entity.js';
import { RequestStatistics } from './request-statistics.js';
import { UsageExport } from './usage-export.js';

/** Usage metrics for the API, billing exports and Prometheus. Writes only request statistics; reads everything else. */
@Module({
  imports: [TypeOrmModule.forFeature([RequestCount]), UsersModule, QuotaModule],
  controllers: [MetricsController, PrometheusController],
  providers: [MetricsService, MetricsRepository, UsageExport, RequestStatistics, Prometheus, MetricsRetention],
})
export class MetricsModule {}
