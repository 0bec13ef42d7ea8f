import type { LimitResponse } from './quota.dto.js';
import { ALL_OBJECTS } from '../platform/objects.js';
import { ALL_CALLS, windowEnd, type Window } from './meters.js';

export type Scope = 'platform' | 'plan' | 'user' | 'key';

/** A limit that was judged, and what was used of it before. */
export interface Judged {
  scope: Scope;
  meter: string;
  window: Window;
  limit: number;
  used: number;
}

const SCOPES: Record<string, Scope> = { g: 'platform', p: 'plan', u: 'user', k: 'key' };
/** What stands for a meter that is not the one that was charged. */
const METERS: Record<string, string> = { '*': ALL_CALLS, o: ALL_OBJECTS };
const WINDOWS: Record<string, Window> = { l: 'lifetime', m: 'minute', h: 'hour', d: 'day', M: 'month' };

/**
 * Reads what spend_calls and charge_gauge say of the limits they judged (see migration 0002).
 * @param meter what `s` stands for
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

/** Whether a limit has no room for so many units more. */
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
