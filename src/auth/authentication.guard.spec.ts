import { generateKeyPairSync } from 'node:crypto';
import type { ExecutionContext } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import passport from 'passport';
import type { AuthenticatedRequest } from '../http/caller/caller.js';
import { ReadAhead, type Read } from '../http/caller/read-ahead.js';
import type { Env } from '../config/env.js';
import type { AccessRules } from './access-rules.js';
import { AccessTokens } from './tokens/access-tokens.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { JwtStrategy } from './jwt.strategy.js';
import { PassportOptions } from './passport-options.js';
import type { RequestSignatures } from './signed-requests/request-signatures.js';
import type { LiveSession, SessionsRepository } from './sessions/sessions.repository.js';
import { SignatureStrategy } from './signature.strategy.js';
import type { SigningKeys } from './tokens/signing-keys.js';

const [USER, OTHER, SESSION] = [1, 2, 3].map((n) => `019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3${n}`) as [
  string,
  string,
  string,
];

const LIVE: LiveSession = { role: 'user', status: 'active', usernameKey: 'a', emailKey: null, needsTotp: false };

/** The authentication of an application, over sessions that a test provides. */
function application(findLive: (userId: string) => Promise<LiveSession | null>) {
  const keys = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }), kid: 'k' } as unknown as SigningKeys;
  const env = { issuer: 'issuer' } as Env;
  const options = new PassportOptions(
    new JwtStrategy(keys, env, { findLive } as unknown as SessionsRepository),
    new SignatureStrategy({} as RequestSignatures),
  );
  const reads = new ReadAhead();
  const rules = { of: () => ({ access: { kind: 'owned' } }) } as unknown as AccessRules;
  const guard = new AuthenticationGuard(options, rules, reads);
  const tokens = new AccessTokens(keys, env);
  return { guard, options, reads, token: (userId: string) => tokens.sign(userId, SESSION) };
}

function handler(): undefined {
  return undefined;
}

function requestOf(token: string): { request: AuthenticatedRequest; context: ExecutionContext } {
  const headers = { authorization: `Bearer ${token}` };
  const request = { headers, raw: { rawHeaders: ['Authorization', headers.authorization] } };
  return {
    request: request as unknown as AuthenticatedRequest,
    context: new ExecutionContextHost([request, {}], undefined, handler),
  };
}

test('several applications in one process: each uses its own strategies', async () => {
  const [one, two] = [application(() => Promise.resolve(LIVE)), application(() => Promise.resolve(null))];
  const [first, second] = [requestOf(one.token(USER)), requestOf(two.token(USER))];
  await one.guard.canActivate(first.context);
  expect(first.request.user).toMatchObject({ userId: USER, sessionId: SESSION, role: 'user' });
  await expect(two.guard.canActivate(second.context)).rejects.toMatchObject({ code: 'invalid_token' });
  // The key of the other application.
  await expect(one.guard.canActivate(second.context)).rejects.toMatchObject({ code: 'invalid_token' });
});

test('concurrent requests: each gets its own caller', async () => {
  const waiting: (() => void)[] = [];
  const { guard, token } = application(() => new Promise((resolve) => waiting.push(() => resolve(LIVE))));
  const [first, second] = [requestOf(token(USER)), requestOf(token(OTHER))];
  const both = [first, second].map(async ({ context }) => guard.canActivate(context));
  while (waiting.length < 2) await new Promise(setImmediate);
  for (const answer of waiting.reverse()) answer();
  await Promise.all(both);
  expect([first.request.user?.userId, second.request.user?.userId]).toEqual([USER, OTHER]);
});

test('application stops: its strategies are removed from Passport', () => {
  const { options } = application(() => Promise.resolve(LIVE));
  const strategies = (passport as unknown as { _strategies: Record<string, unknown> })._strategies;
  expect(options.defaultStrategy.map((name) => name in strategies)).toEqual([true, true]);
  options.onApplicationShutdown();
  expect(options.defaultStrategy.map((name) => name in strategies)).toEqual([false, false]);
});

describe('a read that the route declares', () => {
  const asked: string[] = [];
  const read: Read = (userId) => {
    asked.push(userId);
    return Promise.reject(new Error('the read failed'));
  };

  beforeEach(() => {
    asked.length = 0;
  });

  test('starts before the session is known, for the user of the token', async () => {
    const { guard, reads, token } = application(() => {
      expect(asked).toEqual([USER]);
      return Promise.resolve(LIVE);
    });
    reads.declare(handler, read);
    const { request, context } = requestOf(token(USER));
    await guard.canActivate(context);
    await expect(request.ahead).rejects.toThrow('the read failed');
  });

  test('session has ended: 401, whatever becomes of the read', async () => {
    const { guard, reads, token } = application(() => Promise.resolve(null));
    reads.declare(handler, read);
    await expect(guard.canActivate(requestOf(token(USER)).context)).rejects.toMatchObject({ code: 'invalid_token' });
    expect(asked).toEqual([USER]);
  });

  test('token is not valid: does not start', async () => {
    const { guard, reads } = application(() => Promise.resolve(LIVE));
    reads.declare(handler, read);
    await expect(guard.canActivate(requestOf('x.y.z').context)).rejects.toMatchObject({ code: 'invalid_token' });
    expect(asked).toEqual([]);
  });
});
