import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { Owned } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Conditional, CurrentPreconditions, Tagged, type Preconditions } from '../http/conditional/etag.js';
import { Created } from '../http/conditional/location.js';
import { IdPipe } from '../http/caller/id.pipe.js';
import { Paged } from '../http/conditional/page-link.js';
import { mapPage } from '../common/page.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { CreateTaskDto, ListTasksQuery, TaskPage, TaskResponse, UpdateTaskDto, toTaskResponse } from './task.dto.js';
import { TasksService } from './tasks.service.js';

@ApiTags('Tasks')
@Controller('v1/tasks')
export class TasksController {
  constructor(
    private readonly tasks: TasksService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Create a task; it holds one of its owner’s credits */
  @Post()
  @Owned()
  @Idempotent()
  @Created('/v1/tasks/:id')
  @Fails('credits_exhausted', 'quota_exceeded', 'forbidden', 'not_found', 'overloaded')
  @ApiBody({ type: CreateTaskDto, required: false, examples: { task: { value: { title: 'Count the blankets' } } } })
  async create(
    @Body() dto: CreateTaskDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<TaskResponse> {
    return this.idempotency.respond(attempt, async (tx) => toTaskResponse(await this.tasks.create(dto, caller, tx)));
  }

  /** List tasks, newest first */
  @Get()
  @Owned()
  @Paged()
  @Fails('validation_failed', 'forbidden', 'not_found')
  async list(@Query() query: ListTasksQuery, @CurrentCaller() caller: Caller): Promise<TaskPage> {
    return mapPage(await this.tasks.list(query, caller), toTaskResponse);
  }

  /** Read a task */
  @Get(':id')
  @Owned()
  @Tagged()
  @Fails('not_found')
  async get(@Param('id', IdPipe) id: string, @CurrentCaller() caller: Caller): Promise<TaskResponse> {
    return toTaskResponse(await this.tasks.get(id, caller));
  }

  /** Change a task; a completed task still holds its credit */
  @Patch(':id')
  @Owned()
  @Conditional()
  @Fails('not_found')
  @ApiBody({ type: UpdateTaskDto, examples: { completed: { value: { completed: true } } } })
  async update(
    @Param('id', IdPipe) id: string,
    @Body() dto: UpdateTaskDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<TaskResponse> {
    return toTaskResponse(await this.tasks.update(id, dto, caller, preconditions));
  }

  /** Delete a task and release its credit */
  @Delete(':id')
  @Owned()
  @HttpCode(204)
  @Conditional()
  @Fails('not_found')
  async delete(
    @Param('id', IdPipe) id: string,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<void> {
    await this.tasks.delete(id, caller, preconditions);
  }
}
