import { useQuery } from '@tanstack/react-query';
import { answer } from './answer';
import { api } from './client';
import type { components } from '../../../sdk/src/schema';

/** Reads the whole catalogue of APIs, which is short. */
export function useCatalogue() {
  return useQuery({
    queryKey: ['apis', 'catalogue'],
    queryFn: async ({ signal }) => {
      const apis: components['schemas']['ApiResponse'][] = [];
      let cursor: string | undefined;
      do {
        const query = { limit: 100, ...(cursor === undefined ? {} : { cursor }) };
        const page = await answer(api.GET('/v1/apis', { params: { query }, signal }));
        apis.push(...page.data);
        cursor = page.nextCursor ?? undefined;
      } while (cursor !== undefined);
      return apis.reverse();
    },
    staleTime: 60_000,
  });
}
