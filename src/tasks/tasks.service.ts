import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { reach, type Caller } from '../common/caller.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { gaugeExceeded } from '../quota/quota.service.js';
import { UsersService } from '../users/users.service.js';
import type { CreateTaskDto, ListTasksQuery, UpdateTaskDto } from './task.dto.js';
import { TasksRepository, type TaskRow } from './tasks.repository.js';

/** Tasks: as many at once as their owner has credits. */
@Injectable()
export class TasksService {
  constructor(
    private readonly users: UsersService,
    private readonly tasks: TasksRepository,
    private readonly cursors: Cursors,
  ) {}

  /**
   * @throws Problem credits_exhausted, exactly when no credit is left; quota_exceeded where the platform has no room;
   * forbidden, not_found for an owner that may not be
   */
  async create({ title, completed, owner }: CreateTaskDto, caller: Caller, tx?: Transaction): Promise<TaskRow> {
    const ownerId = owner === undefined ? caller.userId : await this.users.idOf(owner, caller, tx);
    const task = { id: uuidv7(), ownerId, title: title ?? null, completed: completed ?? false };
    const verdict = await this.tasks.chargeAndInsert(task, tx);
    if (!verdict.granted) throw gaugeExceeded([{ gauge: 'tasks', limits: verdict.limits, cost: 1 }]);
    return { ...task, createdAt: verdict.createdAt, updatedAt: verdict.createdAt };
  }

  async list({ owner, completed, cursor, limit }: ListTasksQuery, caller: Caller): Promise<Page<TaskRow>> {
    const ownerId = await this.users.ownerOf(owner, caller);
    const list = `tasks?owner=${ownerId ?? '*'}&completed=${String(completed ?? '')}`;
    const before = cursor === undefined ? null : this.cursors.open(list, cursor);
    const filter = completed === undefined ? undefined : { column: 'completed', type: 'boolean', value: completed };
    const rows = await this.tasks.list(ownerId, { before, limit: limit + 1 }, filter);
    return this.cursors.page(list, rows, limit, (row) => row.id);
  }

  /** @throws Problem not_found, for another's as for none */
  async get(id: string, caller: Caller): Promise<TaskRow> {
    return required(await this.tasks.find({ ownerId: reach(caller), id }));
  }

  /** @throws Problem not_found, for another's as for none */
  async update(id: string, dto: UpdateTaskDto, caller: Caller): Promise<TaskRow> {
    const key = { ownerId: reach(caller), id };
    const isChange = dto.title !== undefined || dto.completed !== undefined;
    return required(await (isChange ? this.tasks.update(key, dto) : this.tasks.find(key)));
  }

  /** @throws Problem not_found, for another's as for none */
  async delete(id: string, caller: Caller): Promise<void> {
    if (!(await this.tasks.deleteAndRelease({ ownerId: reach(caller), id }))) throw new Problem('not_found');
  }
}

function required(task: TaskRow | null): TaskRow {
  if (!task) throw new Problem('not_found');
  return task;
}
