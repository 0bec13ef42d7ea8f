import { useQuery } from '@tanstack/react-query';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';

/** The query key of `useSecurity`, for changes that make it stale. */
export const SECURITY = ['users', 'me', 'security'];

/** Reads the security settings of the user's account. */
export function useSecurity() {
  return useQuery({
    queryKey: SECURITY,
    queryFn: ({ signal }) => answer(api.GET('/v1/users/{user}/security', { params: { path: { user: 'me' } }, signal })),
  });
}
