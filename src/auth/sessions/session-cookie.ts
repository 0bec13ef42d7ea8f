import { Injectable } from '@nestjs/common';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../../common/problem.js';
import { Env } from '../../config/env.js';

const NAME = 'qm_refresh';

/** Scripts cannot read the cookie, pages of other sites cannot send it, and only `/v1/auth` gets it. */
const ATTRIBUTES = { path: '/v1/auth', httpOnly: true, sameSite: 'strict' } as const;

const DAY_SECONDS = 86_400;

/** The cookie that holds the refresh token of a session in a browser. */
@Injectable()
export class SessionCookie {
  private readonly maxAge: number;

  constructor({ sessionDays }: Env) {
    this.maxAge = sessionDays * DAY_SECONDS;
  }

  /**
   * Returns the refresh token, or undefined if the request has no cookie.
   * @throws Problem forbidden if a page of another origin sent the request, which `SameSite` allows on the same site
   */
  read({ headers }: FastifyRequest): string | undefined {
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin') {
      throw new Problem('forbidden', { detail: 'Only pages of this server may use the session cookie.' });
    }
    return parseCookie(headers.cookie ?? '')[NAME];
  }

  /** Sets the cookie for as long as a session lasts without a refresh. */
  set(reply: FastifyReply, refreshToken: string): void {
    this.send(reply, refreshToken, this.maxAge);
  }

  clear(reply: FastifyReply): void {
    this.send(reply, '', 0);
  }

  private send(reply: FastifyReply, value: string, maxAge: number): void {
    // Uses X-Forwarded-Proto only as far as TRUST_PROXY allows.
    const secure = reply.request.protocol === 'https';
    void reply.header('set-cookie', stringifySetCookie({ name: NAME, value, maxAge, secure, ...ATTRIBUTES }));
  }
}
