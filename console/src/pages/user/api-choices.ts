import { useQuery } from '@tanstack/react-query';
import { answer } from '../../api/answer';
import { api } from '../../api/client';

/** Returns the slugs of the first hundred APIs of the catalogue, for suggestions; empty while they load. */
export function useApiSlugs(): string[] {
  const { data } = useQuery({
    queryKey: ['apis', 'slugs'],
    queryFn: ({ signal }) => answer(api.GET('/v1/apis', { params: { query: { limit: 100 } }, signal })),
    staleTime: 60_000,
  });
  return data?.data.map(({ slug }) => slug).sort() ?? [];
}

/** The meters of calls: of all APIs together, and of each. */
export function callMeters(slugs: string[]): { value: string; label: string }[] {
  return [
    { value: 'api:*', label: 'All APIs together' },
    ...slugs.map((slug) => ({ value: `api:${slug}`, label: slug })),
  ];
}

export const WINDOWS = [
  { value: 'minute', label: 'a minute' },
  { value: 'hour', label: 'an hour' },
  { value: 'day', label: 'a day' },
  { value: 'month', label: 'a month' },
  { value: 'lifetime', label: 'in total' },
] as const;

export type Window = (typeof WINDOWS)[number]['value'];
