import { Injectable } from '@nestjs/common';
import { Flusher } from '../common/flusher.js';
import { Database } from '../database/database.js';
import { RequestRecorder, type Batch } from './request-recorder.js';

const FLUSH_MS = 1_000;

const RECORD = {
  name: 'requests-record',
  text: `SELECT record_requests($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::smallint[], $7::bigint[], $8::float8[])`,
};

/**
 * Writes what was counted of requests: each second, and when the server stops. What cannot be written is counted on and
 * tried again. It is telemetry: a process that is killed takes its last second along, and where an answer of the database is
 * lost, a second may count twice.
 */
@Injectable()
export class RequestStatistics {
  private recorder = new RequestRecorder();
  private readonly flusher = new Flusher(FLUSH_MS, () => this.write());

  constructor(private readonly database: Database) {}

  start(recorder: RequestRecorder): void {
    this.recorder = recorder;
    this.flusher.start();
  }

  /** Once no request is under way any more. */
  stop(): Promise<void> {
    return this.flusher.stop();
  }

  /** Resolves when all that was counted before is written, or could not be. Never rejects. */
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
