import { keepPreviousData, useInfiniteQuery, type QueryKey } from '@tanstack/react-query';
import { useMemo } from 'react';

/** One page of a list, as the API returns it. */
interface Page<T> {
  data: T[];
  nextCursor: string | null;
}

export interface PageRequest {
  cursor: string | undefined;
  signal: AbortSignal;
}

/** The rows of a list so far, and its query. */
export interface Pages<T> {
  rows: T[];
  query: {
    isPending: boolean;
    error: Error | null;
    refetch: () => Promise<unknown>;
    hasNextPage: boolean;
    fetchNextPage: () => Promise<unknown>;
    isFetchingNextPage: boolean;
    /** The rows are those of the filter before. */
    isPlaceholderData: boolean;
  };
}

/**
 * Reads a list page by page; `DataTable` shows it.
 * @param queryKey with all that the list depends on, such as its filters
 */
export function usePages<T>(queryKey: QueryKey, page: (request: PageRequest) => Promise<Page<T>>): Pages<T> {
  const query = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam, signal }) => page({ cursor: pageParam, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor ?? undefined,
    // Rows stay while a filter changes, so that the page does not jump.
    placeholderData: keepPreviousData,
  });
  const rows = useMemo(() => query.data?.pages.flatMap(({ data }) => data) ?? [], [query.data]);
  return { rows, query };
}
