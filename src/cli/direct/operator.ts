import type { Actor } from '../../http/caller/caller.js';

/** The operator of the machine, who has no account. The audit log shows the request id `command-line`. */
export const OPERATOR: Actor = {
  userId: null,
  origin: { ip: null, userAgent: null, requestId: 'command-line' },
};
