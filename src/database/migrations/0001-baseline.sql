-- All tables, with named constraints and indexes. Functions and views are in src/database/functions.
--
-- For Citus, the tables of a tenant have owner_id first in their primary key.

-- Sets of limits that users share.
CREATE TABLE plans (
  slug text NOT NULL,
  name text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT plans_pkey PRIMARY KEY (slug)
);

-- Accounts. The *_key columns are the names as they are compared: folded, so that look-alikes are one name.
CREATE TABLE users (
  id uuid NOT NULL,
  username text,
  username_key text COLLATE "C",
  email text,
  email_key text COLLATE "C",
  first_name text,
  last_name text,
  role text NOT NULL DEFAULT 'user',
  status text NOT NULL DEFAULT 'active',
  plan text,
  password_hash text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  last_login_at timestamptz(3),
  email_confirmed_at timestamptz(3),
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_username_key_unique UNIQUE (username_key),
  CONSTRAINT users_email_key_unique UNIQUE (email_key),
  CONSTRAINT users_login_check CHECK (username IS NOT NULL OR email IS NOT NULL),
  CONSTRAINT users_role_check CHECK (role IN ('admin', 'user')),
  CONSTRAINT users_status_check CHECK (status IN ('active', 'disabled')),
  CONSTRAINT users_plan_fkey FOREIGN KEY (plan) REFERENCES plans (slug) ON UPDATE CASCADE ON DELETE RESTRICT
);
CREATE INDEX users_plan_idx ON users (plan);

-- Refresh tokens are not stored: `nonce` and `generation` identify the valid one.
CREATE TABLE sessions (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  nonce bytea NOT NULL,
  generation integer NOT NULL DEFAULT 0,
  rotated_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  ip text,
  user_agent text,
  CONSTRAINT sessions_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT sessions_generation_check CHECK (generation >= 0),
  CONSTRAINT sessions_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);

-- Keys that sign access tokens, encrypted with SECRET_KEY.
CREATE TABLE signing_keys (
  kid text NOT NULL,
  private_key_sealed bytea NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT signing_keys_pkey PRIMARY KEY (kid)
);

CREATE TABLE resources (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  value text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT resources_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT resources_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX resources_id_idx ON resources (id);

-- What an owner may have and has of a gauge: resources, tasks, store.entries, store.bytes. Without checks, like flows.
-- fillfactor: with room on the page for the next version of a row, an update needs no new index entry.
CREATE TABLE gauges (
  owner_id uuid NOT NULL,
  meter text COLLATE "C" NOT NULL,
  -- The limit. NULL: none is set; -1: unlimited.
  amount bigint,
  used bigint NOT NULL DEFAULT 0,
  -- Of store.entries: the number of writes. Versions of entries are taken from it, so they always rise.
  revision bigint NOT NULL DEFAULT 0,
  CONSTRAINT gauges_pkey PRIMARY KEY (owner_id, meter),
  CONSTRAINT gauges_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
) WITH (fillfactor = 80);
-- For sums of limits. Charges change neither of its columns.
CREATE INDEX gauges_amount_idx ON gauges (meter, amount) WHERE amount IS NOT NULL;

-- What an owner, or one of its keys (key_id), may use and has used of a flow: api:<slug> or api:*. The key_id of zeros stands
-- for the owner as a whole. Arrays have one element for each window: lifetime, minute, hour, day, month.
-- Without checks of limits and counts: they would take a third of the time of a charge.
CREATE TABLE flows (
  owner_id uuid NOT NULL,
  key_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'::uuid,
  meter text COLLATE "C" NOT NULL,
  -- NULL: no limit is set; -1: unlimited. The whole array is NULL if no window has a limit.
  limits bigint[],
  -- Units used in the windows that contain the moment `at` of the last charge.
  counts bigint[] NOT NULL DEFAULT '{0,0,0,0,0}',
  at timestamptz NOT NULL DEFAULT '-infinity',
  -- Denied calls: ever, and in the hour of `at`.
  denied bigint NOT NULL DEFAULT 0,
  hour_denied bigint NOT NULL DEFAULT 0,
  CONSTRAINT flows_pkey PRIMARY KEY (owner_id, key_id, meter),
  CONSTRAINT flows_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
) WITH (fillfactor = 50);

-- Limits of a plan: as in flows. A gauge has only the first element.
CREATE TABLE plan_limits (
  plan text NOT NULL,
  meter text COLLATE "C" NOT NULL,
  limits bigint[],
  CONSTRAINT plan_limits_limits_check CHECK (cardinality(limits) = 5 AND -1 <= ALL(limits) AND 9007199254740991 >= ALL(limits)),
  CONSTRAINT plan_limits_pkey PRIMARY KEY (plan, meter),
  CONSTRAINT plan_limits_plan_fkey FOREIGN KEY (plan) REFERENCES plans (slug) ON UPDATE CASCADE ON DELETE CASCADE
);

-- What a store (entries, bytes) and all stores together have used, with their limits, while entries are judged. A limit that is NULL
-- is not set. Scope: u(ser) or p(lan). `revision`: see gauges.
CREATE TYPE store_room AS (
  entries bigint, entry_limit bigint, entry_scope text, bytes bigint, byte_limit bigint, byte_scope text, revision bigint,
  all_entries bigint, all_entry_limit bigint, all_bytes bigint, all_byte_limit bigint, objects bigint, object_limit bigint
);

-- Limits on all owners together, with what they have used. A row exists only while a limit is set: charges lock it.
CREATE TABLE platform_quotas (
  meter text COLLATE "C" NOT NULL,
  limits bigint[],
  CONSTRAINT platform_quotas_limits_check CHECK (cardinality(limits) = 5 AND -1 <= ALL(limits) AND 9007199254740991 >= ALL(limits)),
  counts bigint[] NOT NULL DEFAULT '{0,0,0,0,0}',
  at timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT platform_quotas_counts_check CHECK (cardinality(counts) = 5 AND 0 <= ALL(counts)),
  CONSTRAINT platform_quotas_pkey PRIMARY KEY (meter)
) WITH (fillfactor = 50);

-- Metered APIs: a fixed answer, or an upstream.
CREATE TABLE apis (
  slug text COLLATE "C" NOT NULL,
  name text NOT NULL,
  answer text,
  upstream text,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT apis_pkey PRIMARY KEY (slug),
  CONSTRAINT apis_answer_check CHECK (answer IS NULL OR upstream IS NULL)
);

INSERT INTO apis (slug, name, answer) VALUES ('api1', 'API 1', 'API1'), ('api2', 'API 2', 'API2'), ('api3', 'API 3', 'API3');

CREATE TABLE api_keys (
  id uuid NOT NULL,
  owner_id uuid NOT NULL,
  name text NOT NULL,
  hint text NOT NULL,
  scopes text[] NOT NULL,
  disabled boolean NOT NULL DEFAULT false,
  expires_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT api_keys_pkey PRIMARY KEY (id),
  CONSTRAINT api_keys_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX api_keys_owner_idx ON api_keys (owner_id, id);

-- The secrets of API keys: one, or two while a rotated one is still valid. Repeats what a call needs of its key, so that a
-- call reads one row. A change of a key must change both tables.
CREATE TABLE api_key_secrets (
  hash bytea NOT NULL,
  key_id uuid NOT NULL,
  owner_id uuid NOT NULL,
  scopes text[] NOT NULL,
  disabled boolean NOT NULL,
  expires_at timestamptz(3),
  retires_at timestamptz(3),
  CONSTRAINT api_key_secrets_pkey PRIMARY KEY (hash),
  CONSTRAINT api_key_secrets_hash_check CHECK (octet_length(hash) = 32),
  CONSTRAINT api_key_secrets_key_fkey FOREIGN KEY (key_id) REFERENCES api_keys (id) ON DELETE CASCADE
);
CREATE INDEX api_key_secrets_key_idx ON api_key_secrets (key_id);

-- The ledger of past hours. The current hour of a key and an API is in its flow: see the view usage. No foreign key:
-- usage outlives its owner.
CREATE TABLE usage_hours (
  owner_id uuid NOT NULL,
  key_id uuid NOT NULL,
  meter text COLLATE "C" NOT NULL,
  hour timestamptz NOT NULL,
  granted bigint NOT NULL,
  denied bigint NOT NULL,
  CONSTRAINT usage_hours_pkey PRIMARY KEY (owner_id, key_id, meter, hour)
);
-- For reports by the hour, and for retention.
CREATE INDEX usage_hours_hour_idx ON usage_hours (hour, owner_id, key_id, meter);

-- Answers that are replayed to a repeated request.
CREATE TABLE idempotency_keys (
  owner_id uuid NOT NULL,
  key_hash bytea NOT NULL,
  fingerprint bytea NOT NULL,
  answer bytea NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (owner_id, key_hash)
);
CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at);

-- The value is JSON text as it was sent; json and jsonb would change some of it. Without checks, like flows. fillfactor: as in
-- gauges.
CREATE TABLE store_entries (
  owner_id uuid NOT NULL,
  key text COLLATE "C" NOT NULL,
  value text NOT NULL,
  version bigint NOT NULL,
  expires_at timestamptz(3),
  CONSTRAINT store_entries_pkey PRIMARY KEY (owner_id, key),
  CONSTRAINT store_entries_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
) WITH (fillfactor = 90);
CREATE INDEX store_entries_expires_idx ON store_entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX store_entries_owner_expires_idx ON store_entries (owner_id, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tasks (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  title text,
  completed boolean NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT tasks_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT tasks_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX tasks_id_idx ON tasks (id);
CREATE INDEX tasks_owner_completed_idx ON tasks (owner_id, completed, id);
CREATE INDEX tasks_completed_idx ON tasks (completed, id);

-- Bonus credits.
CREATE TABLE credit_grants (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  amount bigint NOT NULL,
  reason text,
  expires_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT credit_grants_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT credit_grants_amount_check CHECK (amount BETWEEN 1 AND 9007199254740991),
  CONSTRAINT credit_grants_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX credit_grants_owner_expires_idx ON credit_grants (owner_id, expires_at);
CREATE INDEX credit_grants_expires_idx ON credit_grants (expires_at) WHERE expires_at IS NOT NULL;

-- One row. `credits`: the sum of all finite credits at the moment `credits_at`, maintained while it has a bound, otherwise NULL.
-- `usage_until`: platform_hours has all hours before this moment.
CREATE TABLE platform_settings (
  id smallint NOT NULL DEFAULT 1,
  registration text,
  credit_overprovisioning boolean NOT NULL DEFAULT false,
  default_plan text,
  self_deletion boolean NOT NULL DEFAULT false,
  credits numeric,
  credits_at timestamptz,
  usage_until timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT platform_settings_pkey PRIMARY KEY (id),
  CONSTRAINT platform_settings_id_check CHECK (id = 1),
  CONSTRAINT platform_settings_registration_check CHECK (registration IN ('open', 'closed')),
  CONSTRAINT platform_settings_default_plan_fkey FOREIGN KEY (default_plan) REFERENCES plans (slug)
    ON UPDATE CASCADE ON DELETE RESTRICT
);

INSERT INTO platform_settings DEFAULT VALUES;

-- Calls that deleted users had made.
CREATE TABLE departed_calls (
  meter text COLLATE "C" NOT NULL,
  granted bigint NOT NULL,
  denied bigint NOT NULL,
  CONSTRAINT departed_calls_pkey PRIMARY KEY (meter)
);

-- Calls of all owners together in past hours, before platform_settings.usage_until. Later ones are only in the rows of the owners.
CREATE TABLE platform_hours (
  meter text COLLATE "C" NOT NULL,
  hour timestamptz NOT NULL,
  granted bigint NOT NULL,
  denied bigint NOT NULL,
  CONSTRAINT platform_hours_pkey PRIMARY KEY (meter, hour)
);
CREATE INDEX platform_hours_hour_idx ON platform_hours (hour);

-- Requests of a user: ever, and in the hour of the last one.
CREATE TABLE request_counts (
  owner_id uuid NOT NULL,
  total bigint NOT NULL,
  errors bigint NOT NULL,
  hour timestamptz NOT NULL,
  hour_total bigint NOT NULL,
  hour_errors bigint NOT NULL,
  CONSTRAINT request_counts_pkey PRIMARY KEY (owner_id),
  CONSTRAINT request_counts_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);

-- Requests of a user in past hours.
CREATE TABLE request_hours (
  owner_id uuid NOT NULL,
  hour timestamptz NOT NULL,
  total bigint NOT NULL,
  errors bigint NOT NULL,
  CONSTRAINT request_hours_pkey PRIMARY KEY (owner_id, hour),
  CONSTRAINT request_hours_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX request_hours_hour_idx ON request_hours (hour);

-- Requests by route and class of status. `milliseconds`: sum of their durations.
CREATE TABLE request_routes (
  hour timestamptz NOT NULL,
  method text NOT NULL,
  route text NOT NULL,
  status smallint NOT NULL,
  requests bigint NOT NULL,
  milliseconds double precision NOT NULL,
  CONSTRAINT request_routes_pkey PRIMARY KEY (hour, method, route, status)
);

-- One row: all requests ever, also those without a user.
CREATE TABLE request_totals (
  id smallint NOT NULL DEFAULT 1,
  total bigint NOT NULL DEFAULT 0,
  errors bigint NOT NULL DEFAULT 0,
  CONSTRAINT request_totals_pkey PRIMARY KEY (id),
  CONSTRAINT request_totals_id_check CHECK (id = 1)
);

INSERT INTO request_totals DEFAULT VALUES;

-- Refused calls. No foreign key to the key: a refusal outlives it.
CREATE TABLE refusals (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  at timestamptz(3) NOT NULL,
  request_id text NOT NULL,
  key_id uuid NOT NULL,
  api text,
  code text NOT NULL,
  cost bigint NOT NULL,
  limits json NOT NULL,
  CONSTRAINT refusals_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT refusals_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX refusals_at_idx ON refusals (at);
CREATE INDEX refusals_request_idx ON refusals (request_id);

-- No foreign key: an entry outlives its actor and its target. `position`: its place in the chain, once it is sealed.
CREATE TABLE audit_entries (
  id uuid NOT NULL,
  at timestamptz(3) NOT NULL,
  actor_id uuid,
  action text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  changes json NOT NULL,
  request_id text,
  ip text,
  mac bytea NOT NULL,
  position bigint,
  CONSTRAINT audit_entries_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_entries_actor_idx ON audit_entries (actor_id, id);
CREATE INDEX audit_entries_action_idx ON audit_entries (action, id);
CREATE INDEX audit_entries_target_idx ON audit_entries (target, id);
CREATE INDEX audit_entries_unsealed_idx ON audit_entries (id) WHERE position IS NULL;
CREATE INDEX audit_entries_position_idx ON audit_entries (position) WHERE position IS NOT NULL;

CREATE TABLE audit_seals (
  position bigint NOT NULL,
  entry_id uuid NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT audit_seals_pkey PRIMARY KEY (position),
  CONSTRAINT audit_seals_position_check CHECK (position >= 1)
);

-- An account is a keyed hash of a name, whether or not it exists.
CREATE TABLE sign_in_attempts (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  account bytea NOT NULL,
  place text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  failed boolean NOT NULL DEFAULT false,
  CONSTRAINT sign_in_attempts_pkey PRIMARY KEY (id)
);
CREATE INDEX sign_in_attempts_account_idx ON sign_in_attempts (account, place, at);
CREATE INDEX sign_in_attempts_place_idx ON sign_in_attempts (place, at);
CREATE INDEX sign_in_attempts_at_idx ON sign_in_attempts (at);

CREATE TABLE sign_in_streaks (
  account bytea NOT NULL,
  failures integer NOT NULL,
  at timestamptz NOT NULL,
  CONSTRAINT sign_in_streaks_pkey PRIMARY KEY (account),
  CONSTRAINT sign_in_streaks_failures_check CHECK (failures >= 0)
);
CREATE INDEX sign_in_streaks_at_idx ON sign_in_streaks (at);

CREATE TABLE sign_in_places (
  owner_id uuid NOT NULL,
  place text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  CONSTRAINT sign_in_places_pkey PRIMARY KEY (owner_id, place),
  CONSTRAINT sign_in_places_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX sign_in_places_at_idx ON sign_in_places (at);

CREATE TABLE totp_secrets (
  owner_id uuid NOT NULL,
  secret_sealed bytea NOT NULL,
  enabled_at timestamptz(3),
  last_step bigint NOT NULL DEFAULT 0,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT totp_secrets_pkey PRIMARY KEY (owner_id),
  CONSTRAINT totp_secrets_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE totp_recovery_codes (
  owner_id uuid NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT totp_recovery_codes_pkey PRIMARY KEY (owner_id, hash),
  CONSTRAINT totp_recovery_codes_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);

-- Public keys (Ed25519) of signed requests.
CREATE TABLE request_keys (
  id uuid NOT NULL,
  owner_id uuid NOT NULL,
  name text NOT NULL,
  public_key bytea NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT request_keys_pkey PRIMARY KEY (id),
  CONSTRAINT request_keys_public_key_check CHECK (octet_length(public_key) = 32),
  CONSTRAINT request_keys_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX request_keys_owner_idx ON request_keys (owner_id, id);

-- Used nonces of signed requests.
CREATE TABLE request_nonces (
  owner_id uuid NOT NULL,
  key_id uuid NOT NULL,
  nonce_hash bytea NOT NULL,
  signed_at timestamptz(0) NOT NULL,
  CONSTRAINT request_nonces_pkey PRIMARY KEY (owner_id, key_id, nonce_hash),
  CONSTRAINT request_nonces_nonce_hash_check CHECK (octet_length(nonce_hash) = 32)
);
CREATE INDEX request_nonces_signed_idx ON request_nonces (signed_at);

-- Tokens sent by e-mail: only the latest of each kind is valid.
CREATE TABLE account_tokens (
  owner_id uuid NOT NULL,
  kind text NOT NULL,
  token_hash bytea,
  expires_at timestamptz(3) NOT NULL,
  made_at timestamptz(3) NOT NULL DEFAULT now(),
  made integer NOT NULL DEFAULT 1,
  hour_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT account_tokens_pkey PRIMARY KEY (owner_id, kind),
  CONSTRAINT account_tokens_kind_check CHECK (kind IN ('reset', 'link', 'confirm')),
  CONSTRAINT account_tokens_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);

-- E-mails to send, encrypted with SECRET_KEY.
CREATE TABLE mail_outbox (
  owner_id uuid NOT NULL,
  id uuid NOT NULL,
  kind text NOT NULL,
  payload bytea NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  CONSTRAINT mail_outbox_pkey PRIMARY KEY (owner_id, id),
  CONSTRAINT mail_outbox_kind_check CHECK (kind IN ('reset', 'confirm', 'password-changed', 'email-changed')),
  CONSTRAINT mail_outbox_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX mail_outbox_next_idx ON mail_outbox (next_at);

-- Requested password resets that were not looked at yet. The login name is encrypted.
CREATE TABLE recovery_requests (
  login_hash bytea NOT NULL,
  login bytea NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT recovery_requests_pkey PRIMARY KEY (login_hash)
);
