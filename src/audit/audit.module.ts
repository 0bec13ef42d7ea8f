import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AuditChain } from './audit-chain.js';
import { AuditEntry } from './audit-entry.entity.js';
import { AuditLog } from './audit-log.js';
import { AuditMac } from './audit-mac.js';
import { AuditSeal } from './audit-seal.entity.js';
import { AuditController } from './audit.controller.js';
import { AuditRepository } from './audit.repository.js';
import { AuditService } from './audit.service.js';

/** Who changed what: written with each change, chained by hash, read by administrators. */
@Global()
@Module({
  imports: [TypeOrmModule.forFeature([AuditEntry, AuditSeal])],
  controllers: [AuditController],
  providers: [AuditLog, AuditMac, AuditRepository, AuditChain, AuditService],
  exports: [AuditLog, AuditChain],
})
export class AuditModule {}
