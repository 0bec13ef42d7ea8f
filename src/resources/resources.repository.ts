import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { ChargedObjectsRepository } from '../quota/objects/charged-objects.repository.js';
import { Resource } from './resource.entity.js';

export type ResourceRow = Omit<Resource, 'owner'>;

export type NewResource = Pick<Resource, 'id' | 'ownerId' | 'value'>;

@Injectable()
export class ResourcesRepository extends ChargedObjectsRepository<Resource, NewResource> {
  constructor(@InjectRepository(Resource) resources: Repository<Resource>, database: Database) {
    super(resources, database);
  }
}
