/**
 * Runs a cleanup task at intervals. Repeats it immediately while work remains, never runs it twice in parallel, and
 * finishes before the pool closes. A failed run is retried at the next interval.
 */
export class Sweeper {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | undefined;
  private stopped = false;

  /** @param sweep resolves to true if more work remains */
  constructor(
    private readonly everyMs: number,
    private readonly sweep: () => Promise<boolean>,
  ) {}

  /** @param atOnce runs the first sweep immediately */
  start(atOnce = false): void {
    const sweep = (): void => {
      this.sweeping ??= this.sweepAll().finally(() => {
        this.sweeping = undefined;
      });
    };
    if (atOnce) sweep();
    this.timer = setInterval(sweep, this.everyMs).unref();
  }

  /** Stops permanently. Does not wait for a sweep in progress. */
  end(): void {
    this.stopped = true;
    clearInterval(this.timer);
  }

  /** Stops permanently and waits for the sweep in progress. */
  async stop(): Promise<void> {
    this.end();
    await this.sweeping;
  }

  private async sweepAll(): Promise<void> {
    try {
      while (!this.stopped && (await this.sweep()));
    } catch {
      // Retried at the next interval.
    }
  }
}
