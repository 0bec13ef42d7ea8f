import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Accounts, sessions, and resources under a quota.
 *
 * Ready for Citus: every table of a tenant has `owner_id` first in its primary key; `users`, `plans` and
 * `signing_keys` become reference tables.
 */
export class AccountsAndResources1763700000001 implements MigrationInterface {
  readonly name = 'AccountsAndResources1763700000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE plans (
        slug text NOT NULL,
        name text NOT NULL,
        created_at timestamptz(3) NOT NULL DEFAULT now(),
        updated_at timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT plans_pkey PRIMARY KEY (slug)
      )`);
    await runner.query(`
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
        CONSTRAINT users_pkey PRIMARY KEY (id),
        CONSTRAINT users_username_key_unique UNIQUE (username_key),
        CONSTRAINT users_email_key_unique UNIQUE (email_key),
        CONSTRAINT users_login_check CHECK (username IS NOT NULL OR email IS NOT NULL),
        CONSTRAINT users_role_check CHECK (role IN ('admin', 'user')),
        CONSTRAINT users_status_check CHECK (status IN ('active', 'disabled')),
        CONSTRAINT users_plan_fkey FOREIGN KEY (plan) REFERENCES plans (slug) ON UPDATE CASCADE ON DELETE RESTRICT
      )`);
    await runner.query(`CREATE INDEX users_plan_idx ON users (plan)`);
    await runner.query(`
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
      )`);
    await runner.query(`
      CREATE TABLE signing_keys (
        kid text NOT NULL,
        private_key_sealed bytea NOT NULL,
        created_at timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT signing_keys_pkey PRIMARY KEY (kid)
      )`);
    await runner.query(`
      CREATE TABLE limits (
        owner_id uuid NOT NULL,
        meter text NOT NULL,
        period text NOT NULL,
        amount bigint,
        CONSTRAINT limits_pkey PRIMARY KEY (owner_id, meter, period),
        CONSTRAINT limits_amount_check CHECK (amount BETWEEN 0 AND 9007199254740991),
        CONSTRAINT limits_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`
      CREATE TABLE counters (
        owner_id uuid NOT NULL,
        meter text NOT NULL,
        used bigint NOT NULL DEFAULT 0,
        CONSTRAINT counters_pkey PRIMARY KEY (owner_id, meter),
        CONSTRAINT counters_used_check CHECK (used BETWEEN 0 AND 9007199254740991),
        CONSTRAINT counters_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`
      CREATE TABLE resources (
        owner_id uuid NOT NULL,
        id uuid NOT NULL,
        value text NOT NULL,
        created_at timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT resources_pkey PRIMARY KEY (owner_id, id),
        CONSTRAINT resources_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`CREATE INDEX resources_id_idx ON resources (id)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE resources, counters, limits, signing_keys, sessions, users, plans`);
  }
}
