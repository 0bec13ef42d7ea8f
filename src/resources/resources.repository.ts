import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { ChargedTable } from '../quota/charged-table.js';
import type { Resource } from './resource.entity.js';

export type ResourceRow = Pick<Resource, 'id' | 'ownerId' | 'value' | 'createdAt'>;

export type NewResource = Pick<Resource, 'id' | 'ownerId' | 'value'>;

@Injectable()
export class ResourcesRepository extends ChargedTable<ResourceRow, NewResource> {
  constructor(database: Database) {
    super(database, {
      table: 'resources',
      columns: 't.value, t.created_at AS "createdAt"',
      inserted: [{ column: 'value', type: 'text', of: ({ value }) => value }],
    });
  }
}
