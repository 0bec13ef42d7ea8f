import { Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { WINDOWS } from '../../quota/meters.js';
import { toLimitResponse, type Judged } from '../../quota/judged-limits.js';
import type { NearLimitResponse, NearLimitsQuery } from './near-limit.dto.js';
import { NEAR_LIMITS } from './near-limits.statements.js';

interface NearLimitRow extends Judged {
  id: string;
  username: string | null;
  email: string | null;
  keyId: string | null;
  /** By the database's clock, in ms since 1970. */
  moment: number;
}

/** Finds limits that are nearly used up. */
@Injectable()
export class NearLimitsService {
  constructor(private readonly database: Database) {}

  /** Lists limits by share, highest first. Leaves out unlimited meters and limits of 0. */
  async list({ share, limit }: NearLimitsQuery): Promise<NearLimitResponse[]> {
    const rows = await this.database.query<NearLimitRow>(NEAR_LIMITS, [WINDOWS, share, limit]);
    return rows.map(({ id, username, email, keyId, moment, ...judged }) => ({
      user: { id, username, email },
      keyId,
      ...toLimitResponse(judged, moment),
      share: Math.round((judged.used / judged.limit) * 10_000) / 10_000,
    }));
  }
}
