import { AccountsAndResources1763700000001 } from './0001-accounts-and-resources.js';
import { QuotaEngine1763900000002 } from './0002-quota-engine.js';
import { Store1764000000003 } from './0003-store.js';
import { TasksAndMetrics1764200000004 } from './0004-tasks-and-metrics.js';
import { AuditAndSignIn1764300000005 } from './0005-audit-and-sign-in.js';
import { SignedRequests1764400000006 } from './0006-signed-requests.js';
import { Recovery1764500000007 } from './0007-recovery.js';
import { IndexPlans1764600000008 } from './0008-index-plans.js';

/** Every migration, oldest first. Append only: one that has landed is never changed. */
export const migrations = [
  AccountsAndResources1763700000001,
  QuotaEngine1763900000002,
  Store1764000000003,
  TasksAndMetrics1764200000004,
  AuditAndSignIn1764300000005,
  SignedRequests1764400000006,
  Recovery1764500000007,
  IndexPlans1764600000008,
];
