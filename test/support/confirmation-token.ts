import { makeToken } from '../../src/users/account-tokens.js';
import { query } from './server.js';

/** Creates a token that confirms an e-mail, like one sent by e-mail: the shared server has no mail server. */
export async function confirmationToken(
  id: string,
  databaseUrl = process.env.TEST_SERVER_DATABASE ?? '',
): Promise<string> {
  const { token, hash } = makeToken(id);
  await query(
    databaseUrl,
    `INSERT INTO account_tokens (owner_id, kind, token_hash, expires_at)
     VALUES ($1, 'confirm', $2, now() + interval '1 hour')
     ON CONFLICT (owner_id, kind) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at`,
    [id, hash],
  );
  return token;
}
