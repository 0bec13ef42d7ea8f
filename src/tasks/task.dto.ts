import { ApiPropertyOptional, PickType } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { NewOwnedDto, OwnedPageQuery } from '../http/caller/owner.js';
import { IsLabel, MayBeMissing, MayBeNull } from '../common/text.js';
import type { TaskRow } from './tasks.repository.js';

/** A new task. All members are optional. */
export class CreateTaskDto extends NewOwnedDto {
  static readonly mayBeMissing = true;

  /** The title */
  @ApiPropertyOptional({ type: 'string', nullable: true, minLength: 1, maxLength: 256, example: 'Count the blankets' })
  @MayBeNull()
  @IsLabel(256)
  title?: string | null;

  /**
   * Whether the task is completed. Default: `false`
   * @example false
   */
  @MayBeMissing()
  @IsBoolean()
  completed?: boolean;
}

/** Changes to a task. Missing members stay unchanged. A completed task still holds its credit. */
export class UpdateTaskDto extends PickType(CreateTaskDto, ['title', 'completed']) {}

export class ListTasksQuery extends OwnedPageQuery {
  @ApiPropertyOptional({ type: 'boolean', description: 'List only completed (`true`) or only open (`false`) tasks' })
  @MayBeMissing()
  @Transform(({ value }: { value: unknown }) => (value === 'true' || value === 'false' ? value === 'true' : value))
  @IsBoolean({ message: 'must be true or false' })
  completed?: boolean;
}

/** A task. It holds one credit of its owner as long as it exists. */
export class TaskResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /**
   * The id of the user who owns the task
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string;

  /** @example Count the blankets */
  title!: string | null;

  /** @example false */
  completed!: boolean;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  updatedAt!: string;
}

/** One page of tasks, newest first. */
export class TaskPage {
  data!: TaskResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toTaskResponse(task: TaskRow): TaskResponse {
  return {
    id: task.id,
    owner: task.ownerId,
    title: task.title,
    completed: task.completed,
    createdAt: task.createdAt.toISOString(),
    updatedAt: task.updatedAt.toISOString(),
  };
}
