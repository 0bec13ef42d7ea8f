/** Counts values in buckets, like a Prometheus histogram. Adding a value takes a few comparisons. */
export class Distribution {
  /** One count per bound, not cumulative. The last counts the values above all bounds. */
  readonly counts: number[];
  sum = 0;

  /** @param bounds upper bounds, inclusive, ascending */
  constructor(readonly bounds: readonly number[]) {
    this.counts = Array<number>(bounds.length + 1).fill(0);
  }

  get count(): number {
    return this.counts.reduce((sum, each) => sum + each, 0);
  }

  add(value: number): void {
    const { bounds, counts } = this;
    let place = 0;
    while (value > (bounds[place] ?? Infinity)) place++;
    counts[place] = (counts[place] ?? 0) + 1;
    this.sum += value;
  }
}
