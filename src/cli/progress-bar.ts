import { SingleBar } from 'cli-progress';
import type { Io } from './command.js';

/** Shows the progress of a long command with rate and time left, if standard error is a terminal. */
export class ProgressBar {
  private readonly bar: SingleBar | undefined;
  private readonly started = performance.now();

  /** @param total bytes of the file that is read */
  constructor({ stderr }: Io, total: number, unit: string) {
    if (stderr.isTTY !== true || total === 0) return;
    this.bar = new SingleBar({
      format: ` {bar} {percentage} %  {count} ${unit}, {rate} a second, {eta_formatted} left`,
      stream: stderr,
      etaBuffer: 100,
      hideCursor: true,
    });
    this.bar.start(total, 0, { count: 0, rate: 0 });
  }

  update(bytes: number, count: number): void {
    this.bar?.update(bytes, { count, rate: this.rate(count) });
  }

  stop(): void {
    this.bar?.stop();
  }

  /** @returns how many a second since the start */
  rate(count: number): number {
    return Math.round((count / (performance.now() - this.started)) * 1_000);
  }
}
