import { Problem } from '../common/problem.js';

/** What is counted while it exists; it falls on deletion. */
export const GAUGES = ['resources', 'tasks'] as const;

export type Gauge = (typeof GAUGES)[number];

/** In what stretch of time a limit counts. A gauge knows only `lifetime`: what exists, exists whatever the hour. */
export const WINDOWS = ['lifetime'] as const;

export type Window = (typeof WINDOWS)[number];

/** @throws Problem validation_failed for what is no meter */
export function parseGauge(text: string): Gauge {
  const gauge = GAUGES.find((known) => known === text);
  if (!gauge) throw Problem.field('/meter', `is not a meter; there are ${GAUGES.join(', ')}`);
  return gauge;
}
