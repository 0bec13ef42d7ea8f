import { isStorable } from '../common/text.js';

/** Gauges: meters that count existing objects. A gauge falls on deletion. */
export const GAUGES = ['resources', 'tasks', 'store.entries', 'store.bytes'] as const;

export type GaugeMeter = (typeof GAUGES)[number];

/** Time windows of limits, in the order of the database arrays. All but `lifetime` are calendar windows in UTC. */
export const WINDOWS = ['lifetime', 'minute', 'hour', 'day', 'month'] as const;

export type Window = (typeof WINDOWS)[number];

/** The meter of calls to all APIs. */
export const ALL_CALLS = 'api:*';

const CALLS = 'api:';

/** Slug of an API or a plan: lower-case letters, digits, and hyphens between them; at most 64 characters. */
const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

export function isSlug(text: string): boolean {
  return SLUG.test(text);
}

/** Returns the meter of calls to one API. */
export function callsOf(slug: string): string {
  return CALLS + slug;
}

/** Returns the slug of the API whose calls a meter counts. Undefined for gauges and `api:*`. */
export function slugOf(meter: string): string | undefined {
  return meter.startsWith(CALLS) && meter !== ALL_CALLS ? meter.slice(CALLS.length) : undefined;
}

/** Whether a meter is a flow: it counts units of calls and never falls. */
export function isFlow(meter: string): boolean {
  return meter.startsWith(CALLS);
}

/** Whether a text has the syntax of a meter. Does not check that the API exists. */
export function isMeter(text: string): boolean {
  const slug = slugOf(text);
  return (
    text === ALL_CALLS ||
    GAUGES.some((gauge) => gauge === text) ||
    (slug !== undefined && isSlug(slug) && isStorable(slug))
  );
}

/** Whether a meter has the window. A gauge has only `lifetime`. */
export function hasWindow(meter: string, window: Window): boolean {
  return window === 'lifetime' || isFlow(meter);
}

const SECONDS = { minute: 60, hour: 3_600, day: 86_400 };

/** Returns the end of the window that contains a moment, both in ms since 1970 (UTC). Null if it never ends. */
export function windowEnd(window: Window, moment: number): number | null {
  if (window === 'lifetime') return null;
  if (window === 'month') {
    const date = new Date(moment);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
  }
  const length = SECONDS[window] * 1_000;
  return (Math.floor(moment / length) + 1) * length;
}

/** Returns the length of the window that contains a moment, in seconds. Undefined for `lifetime`. */
export function windowSeconds(window: Window, moment: number): number | undefined {
  if (window === 'lifetime') return undefined;
  if (window !== 'month') return SECONDS[window];
  const date = new Date(moment);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return (Date.UTC(year, month + 1) - Date.UTC(year, month)) / 1_000;
}
