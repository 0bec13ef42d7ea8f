import { isEmailAddress } from '../common/names.js';
import { ConfigError, type Env } from '../config/env.js';
import { faultOfPassword } from '../passwords/password-policy.js';

/**
 * Checks the settings of the first administrator. They have no effect once there is an administrator, so call it only
 * before.
 * @throws ConfigError if ADMIN_EMAIL or ADMIN_PASSWORD cannot be used
 */
export async function checkAdminSettings({ adminEmail, adminPassword, passwordPolicy }: Env): Promise<void> {
  if (adminEmail !== undefined && !isEmailAddress(adminEmail)) {
    throw new ConfigError(`ADMIN_EMAIL is ${JSON.stringify(adminEmail)}, which is not an e-mail address.`);
  }
  if (adminPassword !== undefined) await checkPassword('ADMIN_PASSWORD', adminPassword, passwordPolicy);
}

/**
 * Checks a password that the operator has given.
 * @param name how an error names the password
 * @throws ConfigError with everything that the password lacks
 */
export async function checkPassword(name: string, password: string, policy: Env['passwordPolicy']): Promise<void> {
  const fault = await faultOfPassword(password.normalize('NFC'), policy);
  if (fault !== undefined) throw new ConfigError(`${name} ${fault}.`);
}
