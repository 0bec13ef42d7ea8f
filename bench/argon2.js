// What bounds sign-in: how many argon2id verifications a second this machine does, two at once, with nothing around
// them. The parameters are the defaults of src/config/env.ts.
import { hash, verify } from '@node-rs/argon2';

/**
 * @param {number} seconds
 * @param {number} atOnce
 */
export async function verificationsPerSecond(seconds, atOnce = 2) {
  const password = 'Quarter-Master-1';
  const stored = await hash(password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  let count = 0;
  const start = performance.now();
  const lane = async () => {
    while (performance.now() - start < seconds * 1_000) {
      await verify(stored, password);
      count++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return count / ((performance.now() - start) / 1_000);
}
