import { Problem } from '../common/problem.js';

/** The platform-only meter that `totalObjects` limits: users, tasks, resources and store entries together. */
export const ALL_OBJECTS = 'objects';

/** Returns the Problem for an object beyond `totalObjects`. */
export function objectsExceeded(limit: number, used: number): Problem {
  const judged = {
    scope: 'platform',
    meter: ALL_OBJECTS,
    window: 'lifetime',
    ...{ limit, used, remaining: Math.max(0, limit - used), resetsAt: null },
  };
  return new Problem('quota_exceeded', {
    detail: `${used} of ${limit} ${ALL_OBJECTS} are in use.`,
    members: { violated: [judged], limits: [judged] },
  });
}
