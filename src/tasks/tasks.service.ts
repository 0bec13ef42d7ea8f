import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { reach, type Caller } from '../http/caller/caller.js';
import { isConditional, requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page } from '../common/page.js';
import { Problem, required } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { gaugeExceeded } from '../quota/quota.service.js';
import { UsersService } from '../users/users.service.js';
import { toTaskResponse, type CreateTaskDto, type ListTasksQuery, type UpdateTaskDto } from './task.dto.js';
import { TasksRepository, type TaskRow } from './tasks.repository.js';

/** Tasks. An owner can have as many at the same time as credits. */
@Injectable()
export class TasksService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly tasks: TasksRepository,
    private readonly cursors: Cursors,
  ) {}

  /**
   * @throws Problem credits_exhausted exactly if no credit is left; quota_exceeded at the platform limit;
   * forbidden, not_found for a disallowed or unknown owner
   */
  async create({ title, completed, owner }: CreateTaskDto, caller: Caller, tx?: Transaction): Promise<TaskRow> {
    const ownerId = owner === undefined ? caller.userId : await this.users.idOf(owner, caller, tx);
    const task = { id: uuidv7(), ownerId, title: title ?? null, completed: completed ?? false };
    const verdict = await this.tasks.create(task, tx);
    if (!verdict.granted) throw gaugeExceeded([{ gauge: 'tasks', limits: verdict.limits, cost: 1 }]);
    return { ...task, createdAt: verdict.createdAt, updatedAt: verdict.createdAt };
  }

  async list({ owner, completed, cursor, limit }: ListTasksQuery, caller: Caller): Promise<Page<TaskRow>> {
    const ownerId = await this.users.ownerOf(owner, caller);
    const list = `tasks?owner=${ownerId ?? '*'}&completed=${String(completed ?? '')}`;
    const before = cursor === undefined ? null : this.cursors.open(list, cursor);
    const filter = completed === undefined ? {} : { completed };
    const rows = await this.tasks.list(ownerId, { before, limit: limit + 1 }, filter);
    return this.cursors.page(list, rows, limit, (row) => row.id);
  }

  /** @throws Problem not_found, also for another user's task */
  async get(id: string, caller: Caller): Promise<TaskRow> {
    return required(await this.tasks.find({ ownerId: reach(caller), id }));
  }

  /** @throws Problem not_found, also for another user's task; version_mismatch */
  async update(id: string, dto: UpdateTaskDto, caller: Caller, preconditions: Preconditions): Promise<TaskRow> {
    const key = { ownerId: reach(caller), id };
    const isChange = dto.title !== undefined || dto.completed !== undefined;
    if (!isConditional(preconditions)) {
      return required(await (isChange ? this.tasks.update(key, dto) : this.tasks.find(key)));
    }
    return this.database.transaction(async (tx) => {
      const before = required(await this.tasks.lock(tx, key));
      requireVersion(preconditions, toTaskResponse(before));
      return isChange ? required(await this.tasks.update(before, dto, tx)) : before;
    });
  }

  /** @throws Problem not_found, also for another user's task; version_mismatch */
  async delete(id: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    const key = { ownerId: reach(caller), id };
    const isDeleted = isConditional(preconditions)
      ? await this.tasks.deleteIf(key, (task) => {
          requireVersion(preconditions, toTaskResponse(task));
        })
      : await this.tasks.delete(key);
    if (!isDeleted) throw new Problem('not_found');
  }
}
