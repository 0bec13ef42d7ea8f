import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Recovery and confirmation by e-mail: tokens of accounts, e-mails that wait, requests that are still to be looked at.
 *
 * Ready for Citus: `account_tokens` and `mail_outbox` belong to an owner; `recovery_requests` is nobody's yet.
 */
export class Recovery1764500000007 implements MigrationInterface {
  readonly name = 'Recovery1764500000007';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...TABLES, ...TRIGGERS]) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TRIGGER users_email_unconfirmed ON users;
      DROP TRIGGER users_tokens_void ON users;
      DROP FUNCTION unconfirm_email, void_tokens;
      DROP TABLE account_tokens, mail_outbox, recovery_requests;
      ALTER TABLE users DROP COLUMN email_confirmed_at`);
  }
}

const TABLES = [
  `ALTER TABLE users ADD COLUMN email_confirmed_at timestamptz(3)`,
  `CREATE TABLE account_tokens (
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
  )`,
  `CREATE TABLE mail_outbox (
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
  )`,
  `CREATE INDEX mail_outbox_next_idx ON mail_outbox (next_at)`,
  `CREATE TABLE recovery_requests (
    login_hash bytea NOT NULL,
    login bytea NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT recovery_requests_pkey PRIMARY KEY (login_hash)
  )`,
];

/**
 * What holds whoever changes an account, and however: an e-mail that was not confirmed is not, and what was sent to the
 * old one, or would set a password in the place of a newer one, is of no use any more, on its way or arrived.
 */
const TRIGGERS = [
  `CREATE FUNCTION unconfirm_email() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    NEW.email_confirmed_at := NULL;
    RETURN NEW;
  END $$`,
  // By the address itself: those that only look the same have one key, and are other mailboxes.
  `CREATE TRIGGER users_email_unconfirmed BEFORE UPDATE OF email ON users FOR EACH ROW
    WHEN (lower(NEW.email) IS DISTINCT FROM lower(OLD.email)) EXECUTE FUNCTION unconfirm_email()`,
  `CREATE FUNCTION void_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    UPDATE account_tokens SET token_hash = NULL
    WHERE owner_id = NEW.id AND token_hash IS NOT NULL
      AND (kind <> 'confirm' OR lower(NEW.email) IS DISTINCT FROM lower(OLD.email));
    DELETE FROM mail_outbox
    WHERE owner_id = NEW.id
      AND (kind = 'reset' OR kind = 'confirm' AND lower(NEW.email) IS DISTINCT FROM lower(OLD.email));
    RETURN NULL;
  END $$`,
  `CREATE TRIGGER users_tokens_void AFTER UPDATE OF email, password_hash ON users FOR EACH ROW
    WHEN (lower(NEW.email) IS DISTINCT FROM lower(OLD.email) OR NEW.password_hash IS DISTINCT FROM OLD.password_hash)
    EXECUTE FUNCTION void_tokens()`,
];
