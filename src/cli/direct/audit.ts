import { toAuditVerdictResponse, type AuditVerdictResponse } from '../../audit/audit.dto.js';
import { AuditService } from '../../audit/audit.service.js';
import type { Io } from '../command.js';
import { withPlatform } from './platform.js';

export function verifyAudit(io: Io, head: string | undefined): Promise<AuditVerdictResponse> {
  return withPlatform(io, async (app) =>
    toAuditVerdictResponse(await app.get(AuditService).verify(head === undefined ? {} : { head })),
  );
}
