/**
 * Runs work one at a time. A call while the work runs joins the next run, because the current run may have started too
 * early to include its data. All such calls share one run.
 */
export class SharedRun {
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;

  constructor(private readonly work: () => Promise<void>) {}

  /** Resolves or rejects like the run. */
  run(): Promise<void> {
    if (this.running) {
      this.next ??= this.running.then(
        () => this.begin(),
        () => this.begin(),
      );
      return this.next;
    }
    return this.begin();
  }

  private begin(): Promise<void> {
    this.next = undefined;
    const running = this.work().finally(() => {
      // If a next run is queued, `running` stays set until it begins, so that no call starts another run.
      if (!this.next) this.running = undefined;
    });
    this.running = running;
    return running;
  }
}
