import { Baseline1764900000001 } from './0001-baseline.js';

/** Every migration, oldest first. Append only: a released migration is never changed. */
export const migrations = [Baseline1764900000001];
