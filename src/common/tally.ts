/** What a process has counted since it started, for Prometheus. Nobody's name is in it. */
export class Tally {
  private readonly granted = new Map<Spending, number>();
  private readonly denied = new Map<Spending, number>();

  /** Counts spends that were granted or refused by a limit. */
  count(kind: Spending, granted: number, denied: number): void {
    if (granted > 0) this.granted.set(kind, (this.granted.get(kind) ?? 0) + granted);
    if (denied > 0) this.denied.set(kind, (this.denied.get(kind) ?? 0) + denied);
  }

  /** @returns by kind, all of them */
  spends(): { kind: Spending; granted: number; denied: number }[] {
    return SPENDINGS.map((kind) => ({
      kind,
      granted: this.granted.get(kind) ?? 0,
      denied: this.denied.get(kind) ?? 0,
    }));
  }
}

/** What limits bear on. */
const SPENDINGS = ['calls', 'resources', 'tasks', 'store'] as const;

export type Spending = (typeof SPENDINGS)[number];

/** One a process. */
export const tally = new Tally();
