import { Problem } from '../common/problem.js';
import { gaugeExceeded } from '../quota/quota.service.js';
import type { EntryResult, WriteResponse } from './store.dto.js';
import type { WriteVerdict } from './store.repository.js';

/** Returns the response for one entry of a batch. */
export function toResult(key: string, { verdicts, versions }: WriteVerdict, i: number): EntryResult {
  const version = versions[i] ?? undefined;
  switch (verdicts[i]) {
    case 'n':
    case 'w':
      return { key, status: 'written', ...(version === undefined ? {} : { version }) };
    case 's':
      return { key, status: 'skipped', ...(version === undefined ? {} : { version }) };
    case 'm':
      return { key, status: 'failed', code: 'version_mismatch', ...(version === undefined ? {} : { version }) };
    case 'q':
      return { key, status: 'failed', code: 'quota_exceeded' };
    default:
      return { key, status: 'aborted' };
  }
}

/** Returns the problem if nothing was written: that of the first failed entry. */
export function refusalOf({ verdicts, denial }: WriteVerdict, answer?: WriteResponse): Problem {
  const members = { ...answer };
  if (!denial || verdicts.find((letter) => letter !== 'a') === 'm') return new Problem('version_mismatch', { members });
  return gaugeExceeded(
    [
      { gauge: 'store.entries', limits: denial.entryLimits, cost: denial.entryCost },
      { gauge: 'store.bytes', limits: denial.byteLimits, cost: denial.byteCost },
    ],
    members,
  );
}
