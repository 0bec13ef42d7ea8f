const HOUR_MS = 3_600_000;

/** The periods that pages offer, with the step of their charts. */
export const PERIODS = {
  day: { label: '24 hours', hours: 24, step: 'hour' },
  week: { label: '7 days', hours: 7 * 24, step: 'day' },
  month: { label: '30 days', hours: 30 * 24, step: 'day' },
  quarter: { label: '90 days', hours: 90 * 24, step: 'day' },
} as const;

export type Period = keyof typeof PERIODS;

/** Returns a period that ends now, in full steps. */
export function rangeOf(period: Period): { from: string } {
  const { hours, step } = PERIODS[period];
  const length = step === 'hour' ? HOUR_MS : 24 * HOUR_MS;
  // The step of now is part of it.
  return { from: new Date(Math.floor(Date.now() / length) * length + length - hours * HOUR_MS).toISOString() };
}
