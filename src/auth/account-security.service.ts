import { Injectable } from '@nestjs/common';
import type { Caller } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { UsersService } from '../users/users.service.js';
import { AccountSecurityRepository, type AccountSecurity } from './account-security.repository.js';

/** Reads the security settings of an account, for its user and for administrators. */
@Injectable()
export class AccountSecurityService {
  constructor(
    private readonly users: UsersService,
    private readonly accounts: AccountSecurityRepository,
  ) {}

  /** @throws Problem not_found */
  async get(reference: string, caller: Caller): Promise<AccountSecurity> {
    const found = await this.accounts.find(await this.users.idOf(reference, caller));
    if (!found) throw new Problem('not_found');
    return found;
  }
}
