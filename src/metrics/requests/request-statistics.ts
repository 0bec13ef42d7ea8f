import { Injectable } from '@nestjs/common';
import { Flusher } from '../../common/flusher.js';
import { Database } from '../../database/database.js';
import { RequestRecorder, type Batch } from './request-recorder.js';
import { RECORD } from './request-statistics.statements.js';

const FLUSH_MS = 1_000;

/**
 * Writes request counts each second and at shutdown. After a failed write, the counts are kept and retried. The counts
 * are telemetry: a killed process loses its last second, and a lost reply of the database can count a second twice.
 */
@Injectable()
export class RequestStatistics {
  private readonly flusher = new Flusher(FLUSH_MS, () => this.write());

  constructor(
    private readonly database: Database,
    private readonly recorder: RequestRecorder,
  ) {}

  start(): void {
    this.flusher.start();
  }

  /** Writes the remaining counts and stops. Call it when no request is in progress. */
  stop(): Promise<void> {
    return this.flusher.stop();
  }

  /** Resolves when all counts so far are written, or the write has failed. Never rejects. */
  flush(): Promise<void> {
    return this.flusher.flush();
  }

  get requests(): RequestRecorder {
    return this.recorder;
  }

  private async write(): Promise<void> {
    const batch = this.recorder.take();
    if (batch.routes.length === 0) return;
    try {
      await this.database.query(RECORD, valuesOf(batch));
    } catch {
      this.recorder.putBack(batch);
    }
  }
}

function valuesOf({ users, routes }: Batch): unknown[] {
  const counted = [...users.values()];
  return [
    [...users.keys()],
    counted.map(({ total }) => total),
    counted.map(({ errors }) => errors),
    routes.map(({ load }) => load.method),
    routes.map(({ load }) => load.route),
    routes.map(({ of }) => of.place + 1),
    routes.map(({ of }) => of.requests),
    routes.map(({ of }) => of.milliseconds),
  ];
}
