import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves once something holds, which is looked at again and again; the test's own time limit bounds it. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(20);
}
