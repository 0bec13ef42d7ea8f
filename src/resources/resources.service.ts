import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { reach, type Caller } from '../http/caller/caller.js';
import { isConditional, requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { gaugeExceeded } from '../quota/quota.service.js';
import { UsersService } from '../users/users.service.js';
import { toResourceResponse, type CreateResourceDto, type ListResourcesQuery } from './resource.dto.js';
import { ResourcesRepository, type ResourceRow } from './resources.repository.js';

/** Texts that belong to users, as many as the quota `resources` allows. */
@Injectable()
export class ResourcesService {
  constructor(
    private readonly users: UsersService,
    private readonly resources: ResourcesRepository,
    private readonly cursors: Cursors,
  ) {}

  /** @throws Problem quota_exceeded exactly at the limit; forbidden, not_found for a disallowed or unknown owner */
  async create({ value, owner }: CreateResourceDto, caller: Caller, tx?: Transaction): Promise<ResourceRow> {
    const ownerId = owner === undefined ? caller.userId : await this.users.idOf(owner, caller, tx);
    const resource = { id: uuidv7(), ownerId, value };
    const verdict = await this.resources.create(resource, tx);
    if (!verdict.granted) throw gaugeExceeded([{ gauge: 'resources', limits: verdict.limits, cost: 1 }]);
    return { ...resource, createdAt: verdict.createdAt };
  }

  async list(query: ListResourcesQuery, caller: Caller): Promise<Page<ResourceRow>> {
    const ownerId = await this.users.ownerOf(query.owner, caller);
    const list = `resources?owner=${ownerId ?? '*'}`;
    const before = query.cursor === undefined ? null : this.cursors.open(list, query.cursor);
    const rows = await this.resources.list(ownerId, { before, limit: query.limit + 1 });
    return this.cursors.page(list, rows, query.limit, (row) => row.id);
  }

  /** @throws Problem not_found, also for another user's resource */
  async get(id: string, caller: Caller): Promise<ResourceRow> {
    const resource = await this.resources.find({ ownerId: reach(caller), id });
    if (!resource) throw new Problem('not_found');
    return resource;
  }

  /** @throws Problem not_found, also for another user's resource; version_mismatch */
  async delete(id: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    const key = { ownerId: reach(caller), id };
    const isDeleted = isConditional(preconditions)
      ? await this.resources.deleteIf(key, (resource) => {
          requireVersion(preconditions, toResourceResponse(resource));
        })
      : await this.resources.delete(key);
    if (!isDeleted) throw new Problem('not_found');
  }
}
