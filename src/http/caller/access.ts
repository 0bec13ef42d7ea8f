import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiBearerAuth, ApiExtension, ApiSecurity } from '@nestjs/swagger';
import { Fails } from '../docs/api-docs.js';
import type { Operation } from '../docs/api-headers.js';

/** Who may call a route. Every route declares exactly one rule. A route without a rule rejects every request. */
export type AccessRule =
  /** Anyone, signed in or not. */
  | { kind: 'public' }
  /** Administrators. */
  | { kind: 'admin' }
  /** The user that the path parameter names, and administrators. */
  | { kind: 'self-or-admin'; parameter: string }
  /** Any signed-in user. The service limits access to what `reach` allows. */
  | { kind: 'owned'; reach: Reach };

/** What a signed-in user may access; see `REACHES`. */
type Reach = keyof typeof REACHES;

const REACHES = {
  objects: 'any signed-in user, for objects that the user owns. Administrators: for all objects',
  account: 'any signed-in user, for the user’s own account only',
  catalogue: 'any signed-in user',
};

export const ACCESS_RULE = 'quartermaster:access';

/** The extension that holds an operation's rule while the OpenAPI document is built. */
export const ACCESS_MARK = 'x-access';

const rule = (access: AccessRule): MethodDecorator =>
  applyDecorators(SetMetadata(ACCESS_RULE, access), ApiExtension(ACCESS_MARK, access));

/** The problem codes of every route that is not public. */
export const SIGNED_IN = [
  'unauthenticated',
  'invalid_token',
  'invalid_signature',
  'account_disabled',
  'overloaded',
  'database_unavailable',
] as const;

/** OpenAPI security: any one of these credentials is sufficient. */
export const CREDENTIALS = [{ bearer: [] }, { signature: [] }];

const Credentials = () => applyDecorators(ApiBearerAuth(), ApiSecurity('signature'));

export const Public = () => rule({ kind: 'public' });

export const AdminOnly = () =>
  applyDecorators(rule({ kind: 'admin' }), Credentials(), Fails(...SIGNED_IN, 'forbidden', 'totp_setup_required'));

export const SelfOrAdmin = (parameter: string) =>
  applyDecorators(
    rule({ kind: 'self-or-admin', parameter }),
    Credentials(),
    Fails(...SIGNED_IN, 'forbidden', 'totp_setup_required'),
  );

export const Owned = (reach: Reach = 'objects') =>
  applyDecorators(rule({ kind: 'owned', reach }), Credentials(), Fails(...SIGNED_IN));

/** Documents who may call an operation. A public operation gets an empty `security`. */
export function documentAccess(operation: Operation): void {
  const access = operation[ACCESS_MARK] as AccessRule | { kind: 'key' } | undefined;
  if (!access) throw new Error(`${String(operation.operationId)} declares no access rule`);
  Reflect.deleteProperty(operation, ACCESS_MARK);
  if (access.kind === 'public') operation.security = [];
  operation.description = [`Access: ${describe(access)}.`, operation.description].filter(Boolean).join('\n\n');
}

function describe(access: AccessRule | { kind: 'key' }): string {
  switch (access.kind) {
    case 'public':
      return 'anyone, without credentials';
    case 'admin':
      return 'administrators only';
    case 'self-or-admin':
      return `the user that \`{${access.parameter}}\` names, and administrators`;
    case 'owned':
      return REACHES[access.reach];
    case 'key':
      return 'an API key whose scopes cover the API. Access tokens are rejected';
  }
}
