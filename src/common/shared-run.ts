/**
 * Runs work one at a time. A call while the work runs joins the next run, because the current run may have started too
 * early to include its data. All such calls share one run.
 */
export class SharedRun<T = void> {
  private running: Promise<T> | undefined;
  private next: Promise<T> | undefined;

  constructor(private readonly work: () => Promise<T>) {}

  /** Resolves or rejects like the run. */
  run(): Promise<T> {
    if (this.running) {
      this.next ??= this.running.then(
        () => this.begin(),
        () => this.begin(),
      );
      return this.next;
    }
    return this.begin();
  }

  private begin(): Promise<T> {
    this.next = undefined;
    const running = this.work().finally(() => {
      // If a next run is queued, `running` stays set until it begins, so that no call starts another run.
      if (!this.next) this.running = undefined;
    });
    this.running = running;
    return running;
  }
}
