import type { Answer } from './answer.js';

/**
 * Repeats a request while it gets 503 `overloaded`, as clients do. Sign-in attempts wait some seconds for pending ones,
 * which take longer on a slow machine.
 */
export async function overloadedAgain(send: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await send();
    if (answer.status !== 503 || answer.body.code !== 'overloaded') return answer;
  }
}
