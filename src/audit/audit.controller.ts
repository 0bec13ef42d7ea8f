import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { AdminOnly } from '../http/caller/access.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Paged } from '../http/conditional/page-link.js';
import { mapPage } from '../common/page.js';
import {
  AuditPage,
  AuditVerdictResponse,
  ListAuditQuery,
  VerifyAuditQuery,
  toAuditEntryResponse,
  toAuditVerdictResponse,
} from './audit.dto.js';
import { AuditService } from './audit.service.js';

@ApiTags('Audit')
@Controller('v1/audit')
export class AuditController {
  constructor(private readonly audit: AuditService) {}

  /** List who changed what, newest first */
  @Get()
  @AdminOnly()
  @Paged()
  async list(@Query() query: ListAuditQuery, @CurrentCaller() caller: Caller): Promise<AuditPage> {
    return mapPage(await this.audit.list(query, caller), toAuditEntryResponse);
  }

  /** Check that no sealed entry was altered or removed; reads the whole log */
  @Get('verify')
  @AdminOnly()
  async verify(@Query() query: VerifyAuditQuery): Promise<AuditVerdictResponse> {
    return toAuditVerdictResponse(await this.audit.verify(query));
  }
}
