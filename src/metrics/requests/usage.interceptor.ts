import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import { RequestRecorder } from './request-recorder.js';

/**
 * Counts the requests to controllers. What answers other requests calls the recorder itself (see `UsageRecorder`): guards
 * run before interceptors, so `refuse` does it for what they reject.
 */
@Injectable()
export class UsageInterceptor implements NestInterceptor {
  constructor(private readonly recorder: RequestRecorder) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const http = context.switchToHttp();
    this.recorder.watch(http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
    return next.handle() as Observable<unknown>;
  }
}
