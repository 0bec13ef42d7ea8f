import { isStorable } from '../common/text.js';

/** What is counted while it exists; it falls on deletion. */
export const GAUGES = ['resources', 'tasks', 'store.entries', 'store.bytes'] as const;

export type Gauge = (typeof GAUGES)[number];

/** In what stretch of time a limit counts, in the order in which the database keeps them. All but the first are UTC. */
export const WINDOWS = ['lifetime', 'minute', 'hour', 'day', 'month'] as const;

export type Window = (typeof WINDOWS)[number];

/** The meter of all calls, of whatever API. */
export const ALL_CALLS = 'api:*';

const CALLS = 'api:';

/** How an API or a plan is named: lower-case letters, digits, and hyphens between them; 64 at most. */
const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

export function isSlug(text: string): boolean {
  return SLUG.test(text);
}

/** The meter of the calls of one API. */
export function callsOf(slug: string): string {
  return CALLS + slug;
}

/** The slug of the API whose calls a meter counts; undefined for gauges and for `api:*`. */
export function slugOf(meter: string): string | undefined {
  return meter.startsWith(CALLS) && meter !== ALL_CALLS ? meter.slice(CALLS.length) : undefined;
}

/** What happened, and never falls: units of calls. */
export function isFlow(meter: string): boolean {
  return meter.startsWith(CALLS);
}

/** Whether a text is written as a meter is. Whether there is such an API only the catalogue knows. */
export function isMeter(text: string): boolean {
  const slug = slugOf(text);
  return (
    text === ALL_CALLS ||
    GAUGES.some((gauge) => gauge === text) ||
    (slug !== undefined && isSlug(slug) && isStorable(slug))
  );
}

/** What exists, exists whatever the hour: a gauge knows only `lifetime`. */
export function hasWindow(meter: string, window: Window): boolean {
  return window === 'lifetime' || isFlow(meter);
}

const SECONDS = { minute: 60, hour: 3_600, day: 86_400 };

/** When the window ends that holds a moment (both in ms since 1970, UTC); null: never. */
export function windowEnd(window: Window, moment: number): number | null {
  if (window === 'lifetime') return null;
  if (window === 'month') {
    const date = new Date(moment);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
  }
  const length = SECONDS[window] * 1_000;
  return (Math.floor(moment / length) + 1) * length;
}

/** How long a window is, in seconds; a month is as long as the one that holds the moment. Undefined for `lifetime`. */
export function windowSeconds(window: Window, moment: number): number | undefined {
  if (window === 'lifetime') return undefined;
  if (window !== 'month') return SECONDS[window];
  const date = new Date(moment);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return (Date.UTC(year, month + 1) - Date.UTC(year, month)) / 1_000;
}
