import type { UseQueryResult } from '@tanstack/react-query';
import type { Pages } from '../api/use-pages';

/** Makes a list that the API returns whole fit `DataTable`. */
export function rowsOf<T>(list: UseQueryResult<{ data: T[] }>): Pages<T> {
  const { isPending, error, refetch, isPlaceholderData } = list;
  const noMore = { hasNextPage: false, isFetchingNextPage: false, fetchNextPage: refetch };
  return { rows: list.data?.data ?? [], query: { isPending, error, refetch, isPlaceholderData, ...noMore } };
}
