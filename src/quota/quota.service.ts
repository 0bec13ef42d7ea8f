import { Injectable } from '@nestjs/common';
import type { Caller } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { Database } from '../database/database.js';
import { UsersService } from '../users/users.service.js';
import { GAUGES, parseGauge, type Gauge } from './meters.js';
import type { QuotaResponse, SetQuotaDto, WindowQuery } from './quota.dto.js';
import { QuotaRepository, type QuotaRow } from './quota.repository.js';

/** The limits of a user. */
@Injectable()
export class QuotaService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly quotas: QuotaRepository,
  ) {}

  async list(reference: string, caller: Caller): Promise<QuotaResponse[]> {
    const id = await this.users.idOf(reference, caller);
    return (await this.quotas.list(id, GAUGES)).map(toQuotaResponse);
  }

  async set(reference: string, meter: string, dto: SetQuotaDto, caller: Caller): Promise<QuotaResponse> {
    const gauge = parseGauge(meter);
    const id = await this.users.idOf(reference, caller);
    await this.database.transaction((tx) => this.quotas.set(tx, id, gauge, dto.window ?? 'lifetime', dto.limit));
    const [row] = await this.quotas.list(id, [gauge]);
    if (!row) throw new Problem('not_found');
    return toQuotaResponse(row);
  }

  async unset(reference: string, meter: string, query: WindowQuery, caller: Caller): Promise<void> {
    const gauge = parseGauge(meter);
    const id = await this.users.idOf(reference, caller);
    await this.database.transaction((tx) => this.quotas.unset(tx, id, gauge, query.window ?? 'lifetime'));
  }
}

export function toQuotaResponse({ meter, limit, used }: QuotaRow): QuotaResponse {
  return {
    meter,
    window: 'lifetime',
    limit,
    used,
    remaining: limit === null ? null : Math.max(0, limit - used),
    resetsAt: null,
    scope: 'user',
  };
}

/** The refusal of a write that a gauge's limit does not allow: names the limit and what was used of it. */
export function gaugeExceeded(gauge: Gauge, limit: number, used: number): Problem {
  const judged = toQuotaResponse({ meter: gauge, limit, used });
  return new Problem('quota_exceeded', {
    detail: `${String(used)} of ${String(limit)} ${gauge} are in use.`,
    members: { violated: [judged], limits: [judged] },
  });
}
