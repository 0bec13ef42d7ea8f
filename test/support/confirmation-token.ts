import { makeToken } from '../../src/users/account-tokens.js';
import { query } from './server.js';

/** A token that confirms an e-mail, at the shared server: as one that was sent by e-mail, which that one does not send. */
export async function confirmationToken(id: string): Promise<string> {
  const { token, hash } = makeToken(id);
  await query(
    process.env.TEST_SERVER_DATABASE ?? '',
    `INSERT INTO account_tokens (owner_id, kind, token_hash, expires_at)
     VALUES ($1, 'confirm', $2, now() + interval '1 hour')`,
    [id, hash],
  );
  return token;
}
