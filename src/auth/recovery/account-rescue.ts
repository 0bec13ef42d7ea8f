import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import { SERVER } from '../../http/caller/caller.js';
import { ConfigError, Env } from '../../config/env.js';
import { Database, type Transaction } from '../../database/database.js';
import { checkPassword } from '../../users/admin-settings.js';
import { turnOf } from '../../passwords/hash-queue.js';
import { Notices } from '../../users/notices.js';
import { Passwords } from '../../passwords/passwords.js';
import { UsersRepository, type UserRow } from '../../users/users.repository.js';
import { SignInThrottle } from '../throttle/sign-in-throttle.js';
import { TotpRepository } from '../totp/totp.repository.js';

/** How the change was requested, for the audit log. */
const WITH = { with: { to: 'command line' } };

/** The address of an operator at this machine. */
const HERE = '127.0.0.1';

/** Restores access to an account for the operator of the machine, without a session: the commands of src/cli. */
@Injectable()
export class AccountRescue {
  constructor(
    private readonly database: Database,
    private readonly users: UsersRepository,
    private readonly passwords: Passwords,
    private readonly env: Env,
    private readonly totp: TotpRepository,
    private readonly throttle: SignInThrottle,
    private readonly notices: Notices,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Sets a password and ends all sessions.
   * @param login of any user; undefined for the only administrator
   * @returns the name of the account, and how many sessions ended
   * @throws ConfigError when the login or the password cannot be used
   */
  async resetPassword(login: string | undefined, password: string): Promise<{ name: string; endedSessions: number }> {
    await checkPassword('The password', password, this.env.passwordPolicy);
    const passwordHash = await this.passwords.hash(password, turnOf(null, true));
    return this.database.transaction(async (tx) => {
      const { id, name } = await this.lock(tx, login);
      await this.users.update(tx, id, { passwordHash });
      const endedSessions = await this.users.endSessions(tx, id, null);
      await this.throttle.replacePlaces(tx, id, HERE);
      await this.notices.passwordChanged(tx, id);
      const changes = { password: {}, endedSessions: { to: endedSessions }, ...WITH };
      await this.audit.record(tx, SERVER, 'password.reset', id, changes);
      return { name, endedSessions };
    });
  }

  /**
   * Disables two-factor sign-in.
   * @param login see `resetPassword`
   * @returns the name of the account
   * @throws ConfigError when the login cannot be used, or two-factor sign-in is already off
   */
  async disableTotp(login: string | undefined): Promise<string> {
    return this.database.transaction(async (tx) => {
      const { id, name } = await this.lock(tx, login);
      if (!(await this.totp.delete(tx, id))) throw new ConfigError(`${name} has no two-factor sign-in.`);
      await this.audit.record(tx, SERVER, 'totp.disable', id, WITH);
      return name;
    });
  }

  private async lock(tx: Transaction, login: string | undefined): Promise<{ id: string; name: string }> {
    const { id } = login === undefined ? await this.onlyAdmin(tx) : await this.named(tx, login);
    const user = await this.users.lock(tx, id);
    if (!user) throw new ConfigError('The account was just deleted.');
    return { id, name: nameOf(user) };
  }

  private async named(tx: Transaction, login: string): Promise<UserRow> {
    const user = await this.users.findByReference(login, tx);
    if (!user) throw new ConfigError(`There is no user ${JSON.stringify(login)}.`);
    return user;
  }

  private async onlyAdmin(tx: Transaction): Promise<UserRow> {
    const admins = await this.users.listAdmins(tx, 10);
    const [admin] = admins;
    if (!admin) throw new ConfigError('There is no administrator. Start the server to create one.');
    if (admins.length > 1) {
      throw new ConfigError(`There are several administrators: name one (${admins.map(nameOf).join(', ')}).`);
    }
    return admin;
  }
}

function nameOf({ id, username, email }: UserRow): string {
  return username ?? email ?? id;
}
