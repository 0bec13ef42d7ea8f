import { SharedRun } from './shared-run.js';

/**
 * Writes what gathers in memory: at intervals, when somebody wants it written now, and a last time. The work must not
 * fail: it keeps what it could not write.
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

  /** Resolves when all that was there before is written, or could not be. */
  flush(): Promise<void> {
    return this.writing.run();
  }

  /** Once nothing gathers any more. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.flush();
  }
}
