/**
 * Housekeeping at intervals: again at once while there is more to do, never twice at the same time, and over before the
 * pool closes. What fails is tried again at the next time.
 */
export class Sweeper {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | undefined;
  private stopped = false;

  /** @param sweep resolves with whether there is more to do */
  constructor(
    private readonly everyMs: number,
    private readonly sweep: () => Promise<boolean>,
  ) {}

  /** @param atOnce whether the first time is now */
  start(atOnce = false): void {
    const sweep = (): void => {
      this.sweeping ??= this.sweepAll().finally(() => {
        this.sweeping = undefined;
      });
    };
    if (atOnce) sweep();
    this.timer = setInterval(sweep, this.everyMs).unref();
  }

  /** There is nothing more to do, ever. */
  end(): void {
    this.stopped = true;
    clearInterval(this.timer);
  }

  /** Resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.end();
    await this.sweeping;
  }

  private async sweepAll(): Promise<void> {
    try {
      while (!this.stopped && (await this.sweep()));
    } catch {
      // The next time tries again.
    }
  }
}
