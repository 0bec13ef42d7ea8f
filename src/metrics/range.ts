import { Problem } from '../common/problem.js';
import type { RangeQuery, Step } from './metrics.dto.js';
import type { Range } from './metrics.repository.js';

const STEP_MS: Record<Step, number> = { hour: 3_600_000, day: 86_400_000 };

/** Steps that one answer covers at most: more than a year of hours. */
const MAX_STEPS = 10_000;

/**
 * The stretch of time that a query means, in full steps (UTC).
 * @param steps how long it is where it does not say
 * @throws Problem validation_failed where it ends before it begins, or has too many steps
 */
export function rangeOf({ from, to }: RangeQuery, step: Step, steps: number): Range {
  const length = STEP_MS[step];
  const end = Math.ceil((to === undefined ? Date.now() + 1 : Date.parse(to)) / length) * length;
  const start = from === undefined ? end - steps * length : Math.floor(Date.parse(from) / length) * length;
  if (from !== undefined && start >= end) throw Problem.field('/from', 'must be before `to`');
  if (end - start > MAX_STEPS * length) {
    throw Problem.field('/from', `must be ${MAX_STEPS} ${step}s before \`to\` at most`);
  }
  return { from: new Date(start), to: new Date(end) };
}

/** When each step of a stretch begins. */
export function stepsOf({ from, to }: Range, step: Step): Date[] {
  const count = (to.getTime() - from.getTime()) / STEP_MS[step];
  return Array.from({ length: count }, (_each, i) => new Date(from.getTime() + i * STEP_MS[step]));
}
