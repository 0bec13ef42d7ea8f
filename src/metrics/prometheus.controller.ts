import { createHash, timingSafeEqual } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { Controller, Get, Req, Res } from '@nestjs/common';
import { ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Public } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { bearerTokenOf } from '../http/caller/bearer.js';
import { Problem } from '../common/problem.js';
import { SharedRun } from '../common/shared-run.js';
import { Env } from '../config/env.js';
import { Prometheus } from './prometheus.js';

@ApiTags('Health')
@Controller('metrics')
export class PrometheusController {
  private text = '';
  /** Concurrent requests share one read, including those that arrive in the same turn of the event loop. */
  private readonly reading = new SharedRun(async () => {
    await setImmediate();
    this.text = await this.prometheus.gather();
  });

  constructor(
    private readonly env: Env,
    private readonly prometheus: Prometheus,
  ) {}

  /** Read the metrics in Prometheus text format; if METRICS_TOKEN is set, send it as the bearer token */
  @Get()
  @Public()
  @ApiProduces('text/plain')
  @ApiOkResponse({ schema: { type: 'string', example: 'quartermaster_build_info{version="0.1.0"} 1' } })
  @Fails('invalid_token', 'overloaded')
  async read(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const { metricsToken } = this.env;
    if (metricsToken !== undefined && !isSame(bearerTokenOf(request) ?? '', metricsToken)) {
      throw new Problem('invalid_token', { detail: 'Send METRICS_TOKEN as the bearer token.' });
    }
    await this.reading.run();
    reply.type(this.prometheus.contentType);
    return this.text;
  }
}

/** Compares in constant time. */
function isSame(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(text).digest());
  return left !== undefined && right !== undefined && timingSafeEqual(left, right);
}
