import { Problem } from '../common/problem.js';
import type { RangeQuery, Step } from './metrics.dto.js';
import type { Range } from './metrics.repository.js';

const STEP_MS: Record<Step, number> = { hour: 3_600_000, day: 86_400_000 };

/** Maximum steps in a response: more than a year of hours. */
const MAX_STEPS = 10_000;

/**
 * Returns the time range of a query, in full steps (UTC).
 * @param steps default length, if `from` is missing
 * @throws Problem validation_failed if the range is empty or has too many steps
 */
export function rangeOf({ from, to }: RangeQuery, step: Step, steps: number): Range {
  const length = STEP_MS[step];
  const end = Math.ceil((to === undefined ? Date.now() + 1 : Date.parse(to)) / length) * length;
  const start = from === undefined ? end - steps * length : Math.floor(Date.parse(from) / length) * length;
  if (from !== undefined && start >= end) throw Problem.field('/from', 'must be before to');
  if (end - start > MAX_STEPS * length) {
    throw Problem.field('/from', `must be at most ${MAX_STEPS} ${step}s before \`to\``);
  }
  return { from: new Date(start), to: new Date(end) };
}

/** Returns the start of each step in a range. */
export function stepsOf({ from, to }: Range, step: Step): Date[] {
  const count = (to.getTime() - from.getTime()) / STEP_MS[step];
  return Array.from({ length: count }, (_each, i) => new Date(from.getTime() + i * STEP_MS[step]));
}
