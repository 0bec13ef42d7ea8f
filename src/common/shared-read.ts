import { SharedRun } from './shared-run.js';

/** A read that took longer is slow: its value is kept for a while. */
const SLOW_MS = 100;

/** How many times as long as the read took a value is kept, so that reads take at most a tenth of the time. */
const KEPT_TIMES = 10;

/** Shares a value between callers: runs one read at a time, and keeps the value of a slow read. */
export class SharedRead<T> {
  private kept: { value: T; until: number } | undefined;
  private readonly runs = new SharedRun(() => this.keptOrRead());

  /** @param maxAgeMs maximum age of a kept value, in ms since its read began */
  constructor(
    private readonly maxAgeMs: number,
    private readonly read: () => Promise<T>,
  ) {}

  /** Returns a kept value, or else one whose read begins after this call. */
  get(): Promise<T> {
    return this.runs.run();
  }

  private async keptOrRead(): Promise<T> {
    const startedAt = performance.now();
    if (this.kept && this.kept.until > startedAt) return this.kept.value;
    const value = await this.read();
    const took = performance.now() - startedAt;
    const keptMs = took > SLOW_MS ? Math.min(took * KEPT_TIMES, this.maxAgeMs) : 0;
    this.kept = { value, until: startedAt + keptMs };
    return value;
  }
}
