import { Injectable } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf, differs } from '../audit/changes.js';
import type { Caller } from '../http/caller/caller.js';
import { requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page, type PageQuery } from '../common/page.js';
import { Problem, required } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { isSlug } from '../quota/meters.js';
import { toApiResponse, type CreateApiDto, type UpdateApiDto } from './api.dto.js';
import type { Api } from './api.entity.js';
import { ApisRepository, type ApiPosition } from './apis.repository.js';

const FIELDS = ['slug', 'name', 'answer', 'upstream'] as const;

/** The catalogue of metered APIs. */
@Injectable()
export class ApisService {
  constructor(
    private readonly database: Database,
    private readonly apis: ApisRepository,
    private readonly cursors: Cursors,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem slug_taken */
  async create(dto: CreateApiDto, caller: Caller, transaction?: Transaction): Promise<Api> {
    const { slug, name, answer = null, upstream = null } = dto;
    if (answer !== null && upstream !== null) throw Problem.field('/upstream', 'cannot be set together with answer');
    return this.database.within(transaction, async (tx) => {
      const api = await this.apis.insert(tx, { slug, name, answer, upstream });
      await this.audit.record(tx, caller, 'api.create', slug, changesOf(null, api, FIELDS));
      return api;
    });
  }

  async list(query: PageQuery): Promise<Page<Api>> {
    const after =
      query.cursor === undefined ? null : (JSON.parse(this.cursors.open('apis', query.cursor)) as ApiPosition);
    const rows = await this.apis.list(after, query.limit + 1);
    return this.cursors.page('apis', rows, query.limit, ({ createdAt, slug }) => JSON.stringify({ createdAt, slug }));
  }

  /** @throws Problem not_found */
  async get(slug: string): Promise<Api> {
    return required(isSlug(slug) ? await this.apis.find(slug) : null);
  }

  /** @throws Problem not_found, version_mismatch; validation_failed if the API would have both answer and upstream */
  async update(slug: string, dto: UpdateApiDto, caller: Caller, preconditions: Preconditions): Promise<Api> {
    await this.get(slug);
    return this.database.transaction(async (tx) => {
      const before = required(await this.apis.lock(tx, slug));
      requireVersion(preconditions, toApiResponse(before, true));
      if (!differs(before, dto)) return before;
      const after = required(await this.apis.update(tx, slug, dto));
      await this.audit.recordIfChanged(tx, caller, 'api.update', slug, changesOf(before, after, FIELDS));
      return after;
    });
  }

  /**
   * Removes an API from the catalogue. Recorded usage stays. Limits stay too, and apply again to a new API with this
   * slug.
   * @throws Problem not_found, version_mismatch
   */
  async delete(slug: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    if (!isSlug(slug)) throw new Problem('not_found');
    await this.database.transaction(async (tx) => {
      const api = required(await this.apis.lock(tx, slug));
      requireVersion(preconditions, toApiResponse(api, true));
      await this.apis.delete(tx, slug);
      await this.audit.record(tx, caller, 'api.delete', slug, changesOf(api, null, FIELDS));
    });
  }
}
