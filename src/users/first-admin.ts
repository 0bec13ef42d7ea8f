import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import { SERVER } from '../common/caller.js';
import { isEmailAddress } from '../common/names.js';
import { Problem } from '../common/problem.js';
import { ConfigError, Env } from '../config/env.js';
import { Database } from '../database/database.js';
import { PlatformRepository } from '../platform/platform.repository.js';
import { turnOf } from './hash-queue.js';
import { Passwords } from './passwords.js';
import { randomPassword } from './random-password.js';
import { UsersRepository } from './users.repository.js';

/** Any number, the same in every process: the key of the advisory lock on making the first administrator. */
const LOCK = 0x716d_6164;

/** Makes the first administrator. */
@Injectable()
export class FirstAdmin {
  constructor(
    private readonly env: Env,
    private readonly database: Database,
    private readonly users: UsersRepository,
    private readonly passwords: Passwords,
    private readonly settings: PlatformRepository,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Makes the administrator `admin` where there is no administrator; of several processes that start, one does.
   * @returns the random password it was given, if one was made up: nobody can read it again; or what was the case
   * @throws ConfigError when ADMIN_EMAIL or ADMIN_PASSWORD cannot be used
   */
  async ensure(): Promise<{ username: string; password: string } | 'made' | 'was there'> {
    if (await this.exists()) return 'was there';
    const { adminEmail, adminPassword } = this.env;
    if (adminEmail !== undefined && !isEmailAddress(adminEmail)) {
      throw new ConfigError('ADMIN_EMAIL is not an e-mail address.');
    }
    const password = adminPassword ?? randomPassword();
    const passwordHash = await hashForOperator(this.passwords, 'ADMIN_PASSWORD', password);
    const made = await this.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      await this.settings.lock(tx, false);
      if ((await this.users.lockActiveAdmins(tx)).length > 0) return false;
      const names = { username: 'admin', ...(adminEmail === undefined ? {} : { email: adminEmail }) };
      const user = { id: uuidv7(), ...names, role: 'admin' } as const;
      await this.users.insert(tx, { ...user, passwordHash });
      const told = { email: null, ...user };
      await this.audit.record(tx, SERVER, 'user.create', user.id, changesOf(null, told, ['username', 'email', 'role']));
      return true;
    });
    if (!made) return 'was there';
    return adminPassword === undefined ? { username: 'admin', password } : 'made';
  }

  private async exists(): Promise<boolean> {
    const text = `SELECT FROM users WHERE role = 'admin' LIMIT 1`;
    return (await this.database.query({ name: 'any-admin', text }, [])).length > 0;
  }
}

/**
 * Hashes a password that the operator has given.
 * @param name what the message calls it
 * @throws ConfigError naming everything that the password lacks
 */
export async function hashForOperator(passwords: Passwords, name: string, password: string): Promise<string> {
  try {
    return await passwords.hashNew(password, '/password', turnOf(null, true));
  } catch (error) {
    const faults = error instanceof Problem ? (error.extra.errors ?? []) : [];
    throw faults.length > 0 ? new ConfigError(`${name} ${faults.map(({ detail }) => detail).join(', ')}.`) : error;
  }
}
