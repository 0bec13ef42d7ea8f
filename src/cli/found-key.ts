import type { KeyResponse } from '../keys/key.dto.js';
import type { UserResponse } from '../users/user.dto.js';

/** The key of a secret, and its owner. */
export interface FoundKey {
  key: Pick<KeyResponse, 'id' | 'name' | 'scopes' | 'createdAt' | 'expiresAt'> & { state: string };
  owner: Pick<UserResponse, 'id' | 'username' | 'email' | 'status'>;
}
