import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf } from '../audit/changes.js';
import { SERVER } from '../http/caller/caller.js';
import { Env } from '../config/env.js';
import { Database } from '../database/database.js';
import { PlatformRepository } from '../platform/platform.repository.js';
import { checkAdminSettings } from './admin-settings.js';
import { turnOf } from '../passwords/hash-queue.js';
import { Passwords } from '../passwords/passwords.js';
import { randomPassword } from '../passwords/random-password.js';
import { UsersRepository } from './users.repository.js';

/** Key of the advisory lock for creating the first administrator. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6164;

/** Creates the first administrator. */
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
   * Creates the administrator `admin` if there is no administrator. Of several processes that start at once, one does.
   * @returns the random password, if one was generated, which cannot be read again; otherwise whether an administrator
   * was made or existed already
   * @throws ConfigError when ADMIN_EMAIL or ADMIN_PASSWORD cannot be used
   */
  async ensure(): Promise<{ username: string; password: string } | 'made' | 'was there'> {
    if (await this.users.hasAdmin()) return 'was there';
    const { adminEmail, adminPassword } = this.env;
    await checkAdminSettings(this.env);
    const password = adminPassword ?? randomPassword();
    const passwordHash = await this.passwords.hash(password, turnOf(null, true));
    const made = await this.database.transaction(async (tx) => {
      await this.database.lock(tx, LOCK);
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
}
