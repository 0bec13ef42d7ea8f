import { AccountsAndResources1763700000001 } from './0001-accounts-and-resources.js';
import { QuotaEngine1763900000002 } from './0002-quota-engine.js';

/** Every migration, oldest first. Append only: one that has landed is never changed. */
export const migrations = [AccountsAndResources1763700000001, QuotaEngine1763900000002];
