import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Polls until the condition holds; the time limit of the test is the timeout. Polls less often the longer it takes.
 * @param working rejects the wait if it fails
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
