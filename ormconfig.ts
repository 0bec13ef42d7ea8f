/** The TypeORM CLI's way in: `npm run migration:…`. Works on DATABASE_URL, else on the embedded PostgreSQL. */
import { Api } from './src/apis/api.entity.js';
import { AuditEntry } from './src/audit/audit-entry.entity.js';
import { AuditSeal } from './src/audit/audit-seal.entity.js';
import { RequestKey } from './src/auth/signed-requests/request-key.entity.js';
import { RequestNonce } from './src/auth/signed-requests/request-nonce.entity.js';
import { RecoveryRequest } from './src/auth/recovery/recovery-request.entity.js';
import { Session } from './src/auth/sessions/session.entity.js';
import { SigningKey } from './src/auth/tokens/signing-key.entity.js';
import { TotpRecoveryCode } from './src/auth/totp/totp-recovery-code.entity.js';
import { TotpSecret } from './src/auth/totp/totp-secret.entity.js';
import { Env } from './src/config/env.js';
import { isolateFromShell } from './src/config/shell.js';
import { CliDataSource } from './src/database/cli-data-source.js';
import { IdempotencyKey } from './src/idempotency/idempotency-key.entity.js';
import { ApiKeySecret } from './src/keys/api-key-secret.entity.js';
import { ApiKey } from './src/keys/api-key.entity.js';
import { OutboxMail } from './src/mail/outbox-mail.entity.js';
import { RequestCount } from './src/metrics/requests/request-count.entity.js';
import { PlanLimit } from './src/platform/plan-limit.entity.js';
import { Flow } from './src/quota/flow.entity.js';
import { Gauge } from './src/quota/gauge.entity.js';
import { PlatformQuota } from './src/quota/platform-quota.entity.js';
import { UsageHour } from './src/quota/calls/usage-hour.entity.js';
import { Refusal } from './src/refusals/refusal.entity.js';
import { Resource } from './src/resources/resource.entity.js';
import { StoreEntry } from './src/store/store-entry.entity.js';
import { STOP_SIGNALS } from './src/process/signals.js';
import { CreditGrant } from './src/tasks/credit-grant.entity.js';
import { Task } from './src/tasks/task.entity.js';
import { PlatformSettings } from './src/platform/platform-settings.entity.js';
import { Plan } from './src/platform/plan.entity.js';
import { AccountToken } from './src/users/account-token.entity.js';
import { User } from './src/users/user.entity.js';

const ENTITIES = [
  User,
  Plan,
  Session,
  SigningKey,
  RequestKey,
  RequestNonce,
  Gauge,
  Flow,
  PlatformQuota,
  UsageHour,
  PlanLimit,
  ApiKey,
  ApiKeySecret,
  Api,
  IdempotencyKey,
  Resource,
  StoreEntry,
  Task,
  CreditGrant,
  PlatformSettings,
  RequestCount,
  Refusal,
  AuditEntry,
  AuditSeal,
  TotpSecret,
  TotpRecoveryCode,
  AccountToken,
  RecoveryRequest,
  OutboxMail,
];

isolateFromShell();

export default await CliDataSource.open(new Env(), ENTITIES, STOP_SIGNALS);
