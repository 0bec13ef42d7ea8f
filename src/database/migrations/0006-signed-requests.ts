import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Public keys that users sign their requests with, and the nonces of such requests: docs/decisions/0015.
 *
 * Ready for Citus: `request_keys` is a reference table, since a request names nothing but a key; `request_nonces` belongs
 * to an owner, and refers to nothing: what is gone needs no nonces, and they go by themselves.
 */
export class SignedRequests1764400000006 implements MigrationInterface {
  readonly name = 'SignedRequests1764400000006';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE request_keys (
        id uuid NOT NULL,
        owner_id uuid NOT NULL,
        name text NOT NULL,
        public_key bytea NOT NULL,
        created_at timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT request_keys_pkey PRIMARY KEY (id),
        CONSTRAINT request_keys_public_key_check CHECK (octet_length(public_key) = 32),
        CONSTRAINT request_keys_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query('CREATE INDEX request_keys_owner_idx ON request_keys (owner_id, id)');
    await runner.query(`
      CREATE TABLE request_nonces (
        owner_id uuid NOT NULL,
        key_id uuid NOT NULL,
        nonce_hash bytea NOT NULL,
        signed_at timestamptz(0) NOT NULL,
        CONSTRAINT request_nonces_pkey PRIMARY KEY (owner_id, key_id, nonce_hash),
        CONSTRAINT request_nonces_nonce_hash_check CHECK (octet_length(nonce_hash) = 32)
      )`);
    await runner.query('CREATE INDEX request_nonces_signed_idx ON request_nonces (signed_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE request_nonces, request_keys');
  }
}
