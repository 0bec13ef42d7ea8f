/** Runs `task` `count` times, or while `count(i)` is true, `lanes` at a time. Returns the results. */
export async function inLanes<T>(
  count: number | ((i: number) => boolean),
  lanes: number,
  task: (i: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  const isOne = (i: number): boolean => (typeof count === 'number' ? i < count : count(i));
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; isOne(i); i = next++) results[i] = await task(i);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}
