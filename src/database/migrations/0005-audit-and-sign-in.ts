import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The audit log and the chain over it; what failing sign-ins are judged by; second factors.
 *
 * Ready for Citus: `sign_in_places`, `totp_secrets` and `totp_recovery_codes` belong to an owner; the others are the
 * platform's and become reference tables.
 */
export class AuditAndSignIn1764300000005 implements MigrationInterface {
  readonly name = 'AuditAndSignIn1764300000005';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...AUDIT, ...SIGN_IN, JUDGE_SIGN_IN, SETTLE_SIGN_IN, ...TOTP])
      await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE totp_recovery_codes, totp_secrets;
      DROP FUNCTION settle_sign_in, judge_sign_in;
      DROP TABLE sign_in_places, sign_in_streaks, sign_in_attempts;
      DROP TABLE audit_seals, audit_entries`);
  }
}

const AUDIT = [
  // No foreign key: what was done stays on record when who did it, or what it was done to, is gone.
  `CREATE TABLE audit_entries (
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
  )`,
  `CREATE INDEX audit_entries_actor_idx ON audit_entries (actor_id, id)`,
  `CREATE INDEX audit_entries_action_idx ON audit_entries (action, id)`,
  `CREATE INDEX audit_entries_target_idx ON audit_entries (target, id)`,
  `CREATE INDEX audit_entries_unsealed_idx ON audit_entries (id) WHERE position IS NULL`,
  // For verifying: what says that it stands behind the end.
  `CREATE INDEX audit_entries_position_idx ON audit_entries (position) WHERE position IS NOT NULL`,
  `CREATE TABLE audit_seals (
    position bigint NOT NULL,
    entry_id uuid NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_seals_pkey PRIMARY KEY (position),
    CONSTRAINT audit_seals_position_check CHECK (position >= 1)
  )`,
];

const SIGN_IN = [
  // Neither names nor what was typed: an account is a keyed hash here, whether there is such an account or not.
  `CREATE TABLE sign_in_attempts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    account bytea NOT NULL,
    place text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    failed boolean NOT NULL DEFAULT false,
    CONSTRAINT sign_in_attempts_pkey PRIMARY KEY (id)
  )`,
  `CREATE INDEX sign_in_attempts_account_idx ON sign_in_attempts (account, place, at)`,
  `CREATE INDEX sign_in_attempts_place_idx ON sign_in_attempts (place, at)`,
  `CREATE INDEX sign_in_attempts_at_idx ON sign_in_attempts (at)`,
  `CREATE TABLE sign_in_streaks (
    account bytea NOT NULL,
    failures integer NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT sign_in_streaks_pkey PRIMARY KEY (account),
    CONSTRAINT sign_in_streaks_failures_check CHECK (failures >= 0)
  )`,
  `CREATE INDEX sign_in_streaks_at_idx ON sign_in_streaks (at)`,
  `CREATE TABLE sign_in_places (
    owner_id uuid NOT NULL,
    place text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT sign_in_places_pkey PRIMARY KEY (owner_id, place),
    CONSTRAINT sign_in_places_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX sign_in_places_at_idx ON sign_in_places (at)`,
];

/** Any number: advisory locks on a place and on an account are told apart by it. */
const [PLACE_LOCK, ACCOUNT_LOCK] = [0x716d706c, 0x716d6163];

/**
 * Judges an attempt to sign in. `retry_after` above 0: refused, for so many seconds. `must_wait`: whether it is refused
 * depends on attempts that are under way. Else it may go on, and with \`reserve\` counts from now on as one under way,
 * until it is settled; one that is not within a minute has failed.
 *
 * The limits: 10 failures in 15 minutes of an account at a place; and, but for accounts that signed in there before, 100 of
 * a place, and of an account that failed 100 times in a row, wherever, one attempt after each pause, of 1, 2, 4 … seconds
 * and at most 15 minutes.
 */
const JUDGE_SIGN_IN = `
  CREATE FUNCTION judge_sign_in(
    the_account bytea, the_owner uuid, the_place text, reserve boolean,
    OUT attempt uuid, OUT retry_after float8, OUT must_wait boolean, OUT is_known boolean
  ) LANGUAGE plpgsql AS $$
  DECLARE
    span CONSTANT interval := '15 minutes';
    moment timestamptz;
    nth timestamptz;
    streak record;
  BEGIN
    -- One after the other: two that both see nine failures would both be the tenth.
    IF reserve THEN
      PERFORM pg_advisory_xact_lock(${PLACE_LOCK}, hashtext(the_place));
      PERFORM pg_advisory_xact_lock(${ACCOUNT_LOCK}, hashtext(encode(the_account, 'hex')));
    END IF;
    moment := clock_timestamp();
    retry_after := 0;
    must_wait := false;
    is_known := EXISTS (SELECT FROM sign_in_places p WHERE p.owner_id = the_owner AND p.place = the_place);

    SELECT a.at INTO nth FROM sign_in_attempts a
    WHERE a.account = the_account AND a.place = the_place AND a.at > moment - span
      AND (a.failed OR a.at < moment - interval '1 minute')
    ORDER BY a.at DESC OFFSET 9 LIMIT 1;
    IF FOUND THEN retry_after := extract(epoch FROM nth + span - moment); END IF;

    SELECT a.at INTO nth FROM sign_in_attempts a
    WHERE a.place = the_place AND a.at > moment - span AND (a.failed OR a.at < moment - interval '1 minute')
    ORDER BY a.at DESC OFFSET 99 LIMIT 1;
    IF FOUND AND NOT is_known THEN
      retry_after := greatest(retry_after, extract(epoch FROM nth + span - moment));
    END IF;

    SELECT s.failures, s.at INTO streak FROM sign_in_streaks s WHERE s.account = the_account;
    IF streak.failures >= 100 AND NOT is_known THEN
      retry_after := greatest(retry_after, extract(epoch FROM
        streak.at + least(span, make_interval(secs => 2 ^ least(streak.failures - 100, 10))) - moment));
    END IF;
    IF retry_after > 0 THEN RETURN; END IF;

    must_wait := (SELECT count(*) FROM sign_in_attempts a
        WHERE a.account = the_account AND a.place = the_place AND a.at > moment - span) >= 10
      OR NOT is_known
        AND (SELECT count(*) FROM sign_in_attempts a WHERE a.place = the_place AND a.at > moment - span) >= 100;
    IF reserve AND NOT must_wait THEN
      INSERT INTO sign_in_attempts (account, place, at) VALUES (the_account, the_place, moment) RETURNING id INTO attempt;
      INSERT INTO sign_in_streaks AS s (account, failures, at) VALUES (the_account, 1, moment)
      ON CONFLICT ON CONSTRAINT sign_in_streaks_pkey DO UPDATE SET failures = s.failures + 1, at = moment;
    END IF;
  END $$`;

/**
 * Says how an attempt ended (`counted`: as a failure that makes no streak): \`failed\`; \`void\`, as if it had not been (the password was right, and something else
 * was missing); \`passed\`, which forgets the account's failures at that place and its streak, and remembers the place.
 */
const SETTLE_SIGN_IN = `
  CREATE FUNCTION settle_sign_in(the_attempt uuid, the_account bytea, the_owner uuid, the_place text, outcome text)
  RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    CASE outcome
    WHEN 'failed' THEN
      UPDATE sign_in_attempts SET failed = true WHERE id = the_attempt;
    WHEN 'counted' THEN
      UPDATE sign_in_attempts SET failed = true WHERE id = the_attempt;
      DELETE FROM sign_in_streaks WHERE account = the_account;
    WHEN 'void' THEN
      DELETE FROM sign_in_attempts WHERE id = the_attempt;
      UPDATE sign_in_streaks SET failures = greatest(0, failures - 1) WHERE account = the_account;
    WHEN 'passed' THEN
      DELETE FROM sign_in_attempts a WHERE a.id = the_attempt
        OR (a.account = the_account AND a.place = the_place AND a.failed);
      DELETE FROM sign_in_streaks WHERE account = the_account;
      INSERT INTO sign_in_places AS p (owner_id, place, at) VALUES (the_owner, the_place, now())
      ON CONFLICT ON CONSTRAINT sign_in_places_pkey DO UPDATE SET at = now() WHERE p.at < now() - interval '1 hour';
    END CASE;
  END $$`;

const TOTP = [
  `CREATE TABLE totp_secrets (
    owner_id uuid NOT NULL,
    secret_sealed bytea NOT NULL,
    enabled_at timestamptz(3),
    last_step bigint NOT NULL DEFAULT 0,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT totp_secrets_pkey PRIMARY KEY (owner_id),
    CONSTRAINT totp_secrets_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE TABLE totp_recovery_codes (
    owner_id uuid NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT totp_recovery_codes_pkey PRIMARY KEY (owner_id, hash),
    CONSTRAINT totp_recovery_codes_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
];
