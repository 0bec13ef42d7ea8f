import { Problem } from '../common/problem.js';

/** What the platform's bound counts: users, tasks, resources and entries of the store together. No meter of a user's. */
export const ALL_OBJECTS = 'objects';

/** The refusal of an object that the platform has no room for. */
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
