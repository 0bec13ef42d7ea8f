import { QueryClient } from '@tanstack/react-query';
import { ApiProblem, isTransient } from './problem';

const MAX_DELAY_MS = 15_000;

/** Milliseconds before a retry: what the server asks for, otherwise exponential. */
export function retryDelay(failures: number, error: unknown): number {
  if (error instanceof ApiProblem && error.retryAfter !== undefined) return error.retryAfter * 1_000;
  return Math.min(500 * 2 ** failures, MAX_DELAY_MS);
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) => failures < 4 && isTransient(error),
      retryDelay,
      // The server may run on this machine or in a network without the internet.
      networkMode: 'always',
    },
    mutations: { retry: false, networkMode: 'always' },
  },
});
