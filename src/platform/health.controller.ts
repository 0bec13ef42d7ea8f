import { Controller, Get } from '@nestjs/common';
import { ApiProperty, ApiTags } from '@nestjs/swagger';
import { Public } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { Problem } from '../common/problem.js';
import { Database } from '../database/database.js';
import { Shutdown } from './shutdown.js';

/** The state of the server. */
export class HealthResponse {
  @ApiProperty({ enum: ['ok'], example: 'ok' })
  status!: 'ok';
}

@ApiTags('Health')
@Controller()
export class HealthController {
  constructor(
    private readonly database: Database,
    private readonly shutdown: Shutdown,
  ) {}

  /** Check that the process is alive */
  @Get('livez')
  @Public()
  live(): HealthResponse {
    return { status: 'ok' };
  }

  /** Check readiness: the database answers and has every migration, and the server is not shutting down */
  @Get('readyz')
  @Public()
  @Fails('overloaded', 'database_unavailable')
  async ready(): Promise<HealthResponse> {
    if (this.shutdown.hasBegun) {
      throw new Problem('overloaded', { detail: 'The server is shutting down.', retryAfter: 5 });
    }
    if (!(await this.database.isReady())) {
      throw new Problem('database_unavailable', { detail: 'Migrations are missing.', retryAfter: 5 });
    }
    return { status: 'ok' };
  }
}
