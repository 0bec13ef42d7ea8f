import { Controller, Get } from '@nestjs/common';
import { ApiProperty, ApiTags } from '@nestjs/swagger';
import { Public } from '../common/access.js';
import { Fails } from '../common/api-docs.js';
import { Problem } from '../common/problem.js';
import { Database } from '../database/database.js';

/** The server's state. */
export class HealthResponse {
  @ApiProperty({ enum: ['ok'], example: 'ok' })
  status!: 'ok';
}

@ApiTags('Health')
@Controller()
export class HealthController {
  constructor(private readonly database: Database) {}

  /** Whether the process lives */
  @Get('livez')
  @Public()
  live(): HealthResponse {
    return { status: 'ok' };
  }

  /** Whether it can serve: the database answers and has every migration */
  @Get('readyz')
  @Public()
  @Fails('database_unavailable')
  async ready(): Promise<HealthResponse> {
    if (!(await this.database.isReady())) {
      throw new Problem('database_unavailable', { detail: 'Migrations are missing.', retryAfter: 5 });
    }
    return { status: 'ok' };
  }
}
