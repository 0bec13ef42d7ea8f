import { Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller/caller.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem } from '../common/problem.js';
import { UsersService } from '../users/users.service.js';
import type { ListRefusalsQuery } from './refusal.dto.js';
import { RefusalLog } from './refusal-log.js';
import { RefusalsRepository, type RefusalRow } from './refusals.repository.js';

/** Reads refused calls. Writes this process's own ones before. */
@Injectable()
export class RefusalsService {
  constructor(
    private readonly users: UsersService,
    private readonly log: RefusalLog,
    private readonly refusals: RefusalsRepository,
    private readonly cursors: Cursors,
  ) {}

  /** @throws Problem forbidden, not_found for a disallowed or unknown user; validation_failed */
  async list({ user, requestId, api, cursor, limit }: ListRefusalsQuery, caller: Caller): Promise<Page<RefusalRow>> {
    const ownerId = (await this.users.ownerOf(user, caller)) ?? undefined;
    // Only request ids have an index over all owners.
    if (ownerId === undefined && requestId === undefined) throw Problem.field('/requestId', 'is required with user=*');
    const list = `refusals?${JSON.stringify([ownerId, requestId, api])}`;
    const before = cursor === undefined ? null : this.cursors.open(list, cursor);
    await this.log.flush();
    const rows = await this.refusals.list({ ownerId, requestId, api }, before, limit + 1);
    return this.cursors.page(list, rows, limit, (row) => row.id);
  }
}
