/** How many values fell where, as a Prometheus histogram has it. Counting one costs a few comparisons. */
export class Distribution {
  /** By bound, not cumulative; the last one is of what is above all bounds. */
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
