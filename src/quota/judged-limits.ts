import type { LimitResponse } from './quota.dto.js';
import { ALL_OBJECTS } from '../platform/objects.js';
import { ALL_CALLS, windowEnd, type Window } from './meters.js';

export type Scope = 'platform' | 'plan' | 'user' | 'key';

/** A limit that was judged, and its usage before. */
export interface Judged {
  scope: Scope;
  meter: string;
  window: Window;
  limit: number;
  used: number;
}

const SCOPES: Record<string, Scope> = { g: 'platform', p: 'plan', u: 'user', k: 'key' };
/** Codes of meters other than the charged one. */
const METERS: Record<string, string> = { '*': ALL_CALLS, o: ALL_OBJECTS };
const WINDOWS: Record<string, Window> = { l: 'lifetime', m: 'minute', h: 'hour', d: 'day', M: 'month' };

/**
 * Parses the limits that spend_calls and charge_gauge return (see judge_limits.sql).
 * @param meter the charged meter, encoded as `s`
 */
export function parseLimits(text: string, meter: string): Judged[] {
  const judged: Judged[] = [];
  for (const part of text.split(';')) {
    const scope = SCOPES[part.charAt(0)];
    const window = WINDOWS[part.charAt(1)];
    if (!scope || !window) continue;
    const colon = part.indexOf(':');
    judged.push({
      scope,
      meter: METERS[part.charAt(2)] ?? meter,
      window,
      limit: Number(part.slice(3, colon)),
      used: Number(part.slice(colon + 1)),
    });
  }
  return judged;
}

/** Whether `cost` further units exceed a limit. */
export function isViolated({ limit, used }: Judged, cost: number): boolean {
  return used + cost > limit;
}

/** @param moment ms since 1970, by the database's clock */
export function toLimitResponse({ scope, meter, window, limit, used }: Judged, moment: number): LimitResponse {
  const end = windowEnd(window, moment);
  return {
    scope,
    meter,
    window,
    limit,
    used,
    remaining: Math.max(0, limit - used),
    resetsAt: end === null ? null : new Date(end).toISOString(),
  };
}
