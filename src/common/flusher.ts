import { SharedRun } from './shared-run.js';

/**
 * Writes data that is buffered in memory: at intervals, on demand, and once at shutdown. `write` must not reject: it
 * keeps what it could not write.
 */
export class Flusher {
  private readonly writing: SharedRun;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly everyMs: number,
    write: () => Promise<void>,
  ) {
    this.writing = new SharedRun(write);
  }

  start(): void {
    this.timer = setInterval(() => void this.flush(), this.everyMs).unref();
  }

  /** Resolves after an attempt to write everything buffered before this call. */
  flush(): Promise<void> {
    return this.writing.run();
  }

  /** Flushes a last time. Call it when no more data arrives. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.flush();
  }
}
