import { SingleBar } from 'cli-progress';
import type { Io } from './command.js';

/** Shows the progress of a long command with rate and time left, if standard error is a terminal. */
export class ProgressBar {
  private readonly bar: SingleBar | undefined;
  /** Shows the cursor again, also after a signal. */
  private readonly stopBar = (): void => this.bar?.stop();
  private readonly started = performance.now();

  /**
   * @param total bytes of the file that is read
   * @param before how many an interrupted run has done
   */
  constructor(
    { stderr }: Io,
    total: number,
    unit: string,
    private readonly before = 0,
  ) {
    if (stderr.isTTY !== true || total === 0) return;
    this.bar = new SingleBar({
      format: ` {bar} {percentage} %  {count} ${unit}, {rate} a second, {eta_formatted} left`,
      stream: stderr,
      etaBuffer: 100,
      hideCursor: true,
    });
    this.bar.start(total, 0, { count: 0, rate: 0 });
    process.prependOnceListener('exit', this.stopBar);
  }

  update(bytes: number, count: number): void {
    this.bar?.update(bytes, { count, rate: this.rate(count) });
  }

  stop(): void {
    process.off('exit', this.stopBar);
    this.stopBar();
  }

  /** @returns how many a second since the start of this run */
  rate(count: number): number {
    return Math.round(((count - this.before) / (performance.now() - this.started)) * 1_000);
  }
}
