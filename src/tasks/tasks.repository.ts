import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';
import { ChargedTable, type ObjectKey } from '../quota/charged-table.js';
import type { Task } from './task.entity.js';

export type TaskRow = Pick<Task, 'id' | 'ownerId' | 'title' | 'completed' | 'createdAt' | 'updatedAt'>;

export type NewTask = Pick<Task, 'id' | 'ownerId' | 'title' | 'completed'>;

export type TaskChanges = Partial<Pick<Task, 'title' | 'completed'>>;

const COLUMNS = 't.title, t.completed, t.created_at AS "createdAt", t.updated_at AS "updatedAt"';

const UPDATE = {
  name: 'tasks-update',
  text: `
    UPDATE tasks t SET title = CASE WHEN $3 THEN $4 ELSE t.title END, completed = coalesce($5, t.completed),
      updated_at = CASE WHEN ($3 AND t.title IS DISTINCT FROM $4) OR t.completed <> $5 THEN now() ELSE t.updated_at END
    WHERE t.id = $2 AND t.owner_id = coalesce($1, (SELECT owner_id FROM tasks WHERE id = $2))
    RETURNING t.id, t.owner_id AS "ownerId", ${COLUMNS}`,
};

@Injectable()
export class TasksRepository extends ChargedTable<TaskRow, NewTask> {
  constructor(database: Database) {
    super(database, {
      table: 'tasks',
      columns: COLUMNS,
      inserted: [
        { column: 'title', type: 'text', of: ({ title }) => title },
        { column: 'completed', type: 'boolean', of: ({ completed }) => completed },
      ],
    });
  }

  /** @returns the updated task; null if it does not exist */
  async update(
    { ownerId, id }: ObjectKey,
    { title, completed }: TaskChanges,
    tx?: Transaction,
  ): Promise<TaskRow | null> {
    const values = [ownerId, id, title !== undefined, title ?? null, completed ?? null];
    const rows = await (tx ? tx.query<TaskRow>(UPDATE.text, values) : this.database.query<TaskRow>(UPDATE, values));
    return rows[0] ?? null;
  }
}
