import { Card, SimpleGrid, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { LimitBar, limitName } from '../../components/limit-bar';

/** How much is used and left of the user's limits on one meter; nothing where there is no limit. */
export function QuotaBars({ meter }: { meter: string }) {
  const { data, isPending } = useQuery({
    queryKey: ['quotas', 'me'],
    queryFn: ({ signal }) => answer(api.GET('/v1/users/{user}/quotas', { params: { path: { user: 'me' } }, signal })),
  });
  if (isPending) return <Skeleton height={88} mb="md" />;
  const limits = data?.data.filter((quota) => quota.meter === meter && quota.limit !== null) ?? [];
  if (limits.length === 0) return null;
  return (
    <SimpleGrid cols={{ base: 1, sm: limits.length > 1 ? 2 : 1 }} mb="md">
      {limits.map((quota) => (
        <Card key={limitName(quota)} padding="md">
          <LimitBar quota={quota} />
        </Card>
      ))}
    </SimpleGrid>
  );
}
