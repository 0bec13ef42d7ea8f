import { Injectable } from '@nestjs/common';
import type { Origin } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { Passwords } from '../passwords/passwords.js';
import { UsersRepository } from '../users/users.repository.js';
import type { LoginDto } from './auth.dto.js';
import { SessionsService, type OpenSession, type SignIn } from './sessions/sessions.service.js';
import { SignInThrottle } from './throttle/sign-in-throttle.js';
import { TotpService } from './totp/totp.service.js';

/** Signs users in. */
@Injectable()
export class AuthService {
  constructor(
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly throttle: SignInThrottle,
    private readonly totp: TotpService,
    private readonly sessions: SessionsService,
  ) {}

  /**
   * @throws Problem invalid_credentials and too_many_attempts, each the same for an unknown login and a wrong password;
   * account_disabled; totp_required, invalid_totp
   */
  async login(dto: LoginDto, origin: Origin): Promise<SignIn> {
    // Tries again if the password hash changed while it was checked: another sign-in may have renewed it.
    const session = (await this.startSession(dto, origin)) ?? (await this.startSession(dto, origin));
    const signIn = session && (await this.sessions.issue(session));
    if (!signIn) throw new Problem('invalid_credentials');
    return signIn;
  }

  /** @returns null if the password hash changed while it was checked, or the account was disabled or deleted */
  private async startSession({ login, password, code }: LoginDto, origin: Origin): Promise<OpenSession | null> {
    const account = await this.accounts.findCredentials(login);
    return this.throttle.run(this.throttle.byLogin(login, account?.id ?? null, origin.ip), {
      check: async () => {
        const newHash = await this.passwords.verify(password, account?.passwordHash);
        if (!account || newHash === null) throw new Problem('invalid_credentials');
        if (account.status === 'disabled') throw new Problem('account_disabled');
        return { ...account, newHash };
      },
      complete: async (tx, checked) => {
        const session = await this.sessions.start(tx, checked, origin);
        if (session) await this.totp.use(tx, { userId: checked.id, origin }, code);
        return session;
      },
      success: 'passed',
    });
  }
}
