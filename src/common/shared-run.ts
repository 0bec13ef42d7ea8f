/**
 * Work that runs once at a time, for whoever wants what was there before they asked to be done: who asks while it runs
 * shares the next run, since this one may have begun too early.
 */
export class SharedRun {
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;

  constructor(private readonly work: () => Promise<void>) {}

  /** Resolves, or rejects, as the run does. */
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
      // Until the next one has begun, nobody else begins one.
      if (!this.next) this.running = undefined;
    });
    this.running = running;
    return running;
  }
}
