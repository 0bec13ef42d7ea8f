import { Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { FIND_SECURITY } from './account-security.statements.js';

export interface AccountSecurity {
  emailConfirmedAt: Date | null;
  totpEnabledAt: Date | null;
  recoveryCodesLeft: number;
  sessions: number;
  signingKeys: number;
}

@Injectable()
export class AccountSecurityRepository {
  constructor(private readonly database: Database) {}

  async find(id: string): Promise<AccountSecurity | null> {
    return (await this.database.query<AccountSecurity>(FIND_SECURITY, [id]))[0] ?? null;
  }
}
