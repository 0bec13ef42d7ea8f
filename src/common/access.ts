import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiBearerAuth, ApiSecurity } from '@nestjs/swagger';
import { Fails } from './api-docs.js';

/** Who may call a route. Every route declares exactly one rule; one that declares none answers nobody. */
export type AccessRule =
  /** Anyone, signed in or not. */
  | { kind: 'public' }
  /** Administrators. */
  | { kind: 'admin' }
  /** The user that the path parameter names, and administrators. */
  | { kind: 'self-or-admin'; parameter: string }
  /** Any signed-in user; the service shows each only what it owns (and administrators all). */
  | { kind: 'owned' };

export const ACCESS_RULE = 'quartermaster:access';

const rule = (access: AccessRule): MethodDecorator & ClassDecorator => SetMetadata(ACCESS_RULE, access);

/** How every route refuses that is not public. */
export const SIGNED_IN = [
  'unauthenticated',
  'invalid_token',
  'invalid_signature',
  'account_disabled',
  'overloaded',
  'database_unavailable',
] as const;

/** In the document: the credentials of which any one will do. */
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

export const Owned = () => applyDecorators(rule({ kind: 'owned' }), Credentials(), Fails(...SIGNED_IN));
