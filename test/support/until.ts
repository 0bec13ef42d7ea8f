import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves once something holds, which is looked at again and again; the test's own time limit bounds it. What takes
 * long is looked at less often.
 * @param working what goes on meanwhile: if it fails, nothing is waited for
 */
export async function until(holds: () => boolean | Promise<boolean>, working?: Promise<unknown>): Promise<void> {
  let failure: { error: unknown } | undefined;
  working?.catch((error: unknown) => (failure = { error }));
  const started = Date.now();
  while (!(await holds())) {
    if (failure) throw failure.error;
    await sleep(Math.min(200, Math.max(10, (Date.now() - started) / 10)));
  }
}
