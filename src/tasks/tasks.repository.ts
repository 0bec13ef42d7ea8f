import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { columnsOf } from '../database/columns.js';
import { Database, within, type Transaction } from '../database/database.js';
import { ChargedObjectsRepository, isKeyed, type ObjectKey } from '../quota/objects/charged-objects.repository.js';
import { Task } from './task.entity.js';

export type TaskRow = Omit<Task, 'owner'>;

export type NewTask = Pick<Task, 'id' | 'ownerId' | 'title' | 'completed'>;

export type TaskChanges = Partial<Pick<Task, 'title' | 'completed'>>;

@Injectable()
export class TasksRepository extends ChargedObjectsRepository<Task, NewTask> {
  constructor(@InjectRepository(Task) tasks: Repository<Task>, database: Database) {
    super(tasks, database);
  }

  /**
   * `updatedAt` stays if nothing differs.
   * @returns the updated task; null if it does not exist
   */
  async update(key: ObjectKey, changes: TaskChanges, tx?: Transaction): Promise<TaskRow | null> {
    const isChanged = Object.keys(changes).map((column) => `${column} IS DISTINCT FROM :new_${column}`);
    const updated = await within(this.objects, tx)
      .createQueryBuilder()
      .update()
      .set({ ...changes, updatedAt: () => 'now()' })
      .setParameters(Object.fromEntries(Object.entries(changes).map(([column, value]) => [`new_${column}`, value])))
      .where(isKeyed<Task>(key))
      .andWhere(`(${isChanged.join(' OR ')})`)
      .returning(columnsOf(this.objects, 'tasks'))
      .execute();
    return (updated.raw as TaskRow[])[0] ?? within(this.objects, tx).findOneBy(isKeyed<Task>(key));
  }
}
