import type { Judged } from '../judged-limits.js';
import { windowEnd, windowSeconds } from '../meters.js';

/** An integer in a structured field has at most 15 digits (RFC 9651, section 3.3.1). */
const MAX_INTEGER = 999_999_999_999_999;

/** Returns whole seconds, at least 1. */
export function secondsUntil(end: number, moment: number): number {
  return Math.max(1, Math.ceil((end - moment) / 1_000));
}

/**
 * The fields RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10) for limits that were judged
 * together. RateLimit-Policy has the amount and window of each limit, RateLimit the remaining units and the seconds
 * until the reset. A limit is named by its window; if this is ambiguous, by scope and window, or by scope, meter and
 * window.
 */
export class RateLimitFields {
  readonly policy: string;
  private readonly states: { start: string; left: number; end: string }[];

  constructor(limits: readonly Judged[], moment: number) {
    const names = namesOf(limits);
    this.policy = limits
      .map(({ window, limit }, i) => {
        const seconds = windowSeconds(window, moment);
        return `"${names[i] ?? window}";q=${Math.min(limit, MAX_INTEGER)}${seconds === undefined ? '' : `;w=${seconds}`}`;
      })
      .join(', ');
    this.states = limits.map(({ window, limit, used }, i) => {
      const end = windowEnd(window, moment);
      return {
        start: `"${names[i] ?? window}";r=`,
        left: limit - used,
        end: end === null ? '' : `;t=${secondsUntil(end, moment)}`,
      };
    });
  }

  /** Returns RateLimit after `spent` further units. */
  state(spent: number): string {
    let text = '';
    for (const { start, left, end } of this.states) {
      text += `${text === '' ? '' : ', '}${start}${Math.min(Math.max(0, left - spent), MAX_INTEGER)}${end}`;
    }
    return text;
  }
}

function namesOf(limits: readonly Judged[]): string[] {
  const [first] = limits;
  if (limits.length === 1 && first) return [first.window];
  const isUnique = (names: string[], name: string): boolean => names.indexOf(name) === names.lastIndexOf(name);
  const byWindow = limits.map(({ window }) => window as string);
  const byScope = limits.map(({ scope, window }) => `${scope} ${window}`);
  return limits.map(({ scope, meter, window }, i) => {
    if (isUnique(byWindow, window)) return window;
    const named = byScope[i] ?? window;
    return isUnique(byScope, named) ? named : `${scope} ${meter} ${window}`;
  });
}
