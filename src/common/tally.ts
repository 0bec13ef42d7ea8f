/** Counts of this process since its start, for Prometheus. Contains no user names. */
export class Tally {
  private readonly granted = new Map<Spending, number>();
  private readonly denied = new Map<Spending, number>();

  /** Counts spends that were granted, or denied by a limit. */
  count(kind: Spending, granted: number, denied: number): void {
    if (granted > 0) this.granted.set(kind, (this.granted.get(kind) ?? 0) + granted);
    if (denied > 0) this.denied.set(kind, (this.denied.get(kind) ?? 0) + denied);
  }

  /** @returns the counts of every kind, zeros included */
  spends(): { kind: Spending; granted: number; denied: number }[] {
    return SPENDINGS.map((kind) => ({
      kind,
      granted: this.granted.get(kind) ?? 0,
      denied: this.denied.get(kind) ?? 0,
    }));
  }
}

/** Kinds of spends that limits apply to. */
const SPENDINGS = ['calls', 'resources', 'tasks', 'store'] as const;

export type Spending = (typeof SPENDINGS)[number];

/** One instance per process. */
export const tally = new Tally();
