import { ApiId, ApiTime } from '../../common/formats.js';
import type { Caller } from '../../http/caller/caller.js';
import type { Session } from './session.entity.js';

/** An active session. */
export class SessionResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /**
   * Whether this session made the request
   * @example true
   */
  current!: boolean;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /**
   * The time of the last refresh; null before the first one
   * @example 2026-11-21T08:30:00.000Z
   */
  @ApiTime()
  refreshedAt!: string | null;

  /** @example 2026-12-21T08:00:00.000Z */
  @ApiTime()
  expiresAt!: string;

  /** @example 192.0.2.7 */
  ip!: string | null;

  /** @example curl/8.5.0 */
  userAgent!: string | null;
}

/** One page of sessions, newest first. */
export class SessionPage {
  data!: SessionResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toSessionResponse(session: Session, caller: Caller): SessionResponse {
  return {
    id: session.id,
    current: session.id === caller.sessionId,
    createdAt: session.createdAt.toISOString(),
    refreshedAt: session.rotatedAt?.toISOString() ?? null,
    expiresAt: session.expiresAt.toISOString(),
    ip: session.ip,
    userAgent: session.userAgent,
  };
}
