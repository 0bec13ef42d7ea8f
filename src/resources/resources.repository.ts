import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { ChargedRepository } from '../quota/charged.repository.js';
import { Resource } from './resource.entity.js';

export type ResourceRow = Omit<Resource, 'owner'>;

export type NewResource = Pick<Resource, 'id' | 'ownerId' | 'value'>;

@Injectable()
export class ResourcesRepository extends ChargedRepository<Resource, NewResource> {
  constructor(@InjectRepository(Resource) resources: Repository<Resource>, database: Database) {
    super(resources, database);
  }
}
