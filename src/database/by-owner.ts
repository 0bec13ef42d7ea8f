/** Requests of a batch, sorted by owner. */
export interface ByOwner<Q> {
  /** In ascending order of owners, which is the order of their locks; those of one owner in the order of the batch. */
  sorted: Q[];
  /** For each sorted request, its index in the batch. */
  places: number[];
  owners: string[];
  /** For each owner, the number of requests up to its last one. */
  ends: number[];
}

export function byOwner<Q extends { ownerId: string }>(batch: readonly Q[]): ByOwner<Q> {
  const placed = batch.map((request, place) => ({ request, place }));
  placed.sort((a, b) => compare(a.request.ownerId, b.request.ownerId));
  const sorted = placed.map(({ request }) => request);
  const ends = sorted.flatMap(({ ownerId }, i) => (ownerId === sorted[i + 1]?.ownerId ? [] : [i + 1]));
  const owners = ends.map((end) => sorted[end - 1]?.ownerId ?? '');
  return { sorted, places: placed.map(({ place }) => place), owners, ends };
}

/** Returns the results of sorted requests in the order of the batch. */
export function inBatchOrder<R>({ places }: ByOwner<unknown>, results: readonly R[]): R[] {
  const ordered = Array<R>(results.length);
  results.forEach((result, i) => {
    ordered[places[i] ?? 0] = result;
  });
  return ordered;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
