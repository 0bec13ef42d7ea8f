import type { Answer } from './answer.js';

/**
 * Sends a request again for as long as it is answered 503 `overloaded`, as clients do. Attempts to sign in wait some
 * seconds for those that are under way; on a slow machine these take longer.
 */
export async function overloadedAgain(send: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await send();
    if (answer.status !== 503 || answer.body.code !== 'overloaded') return answer;
  }
}
