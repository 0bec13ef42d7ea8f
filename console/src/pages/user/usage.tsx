import { Card, SimpleGrid } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { LimitBar, limitName } from '../../components/limit-bar';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';

/** What the user has used, and what is left. */
export default function Usage() {
  const quotas = useQuery({
    queryKey: ['quotas', 'me'],
    queryFn: ({ signal }) => answer(api.GET('/v1/users/{user}/quotas', { params: { path: { user: 'me' } }, signal })),
  });
  return (
    <>
      <PageHeader title="Usage" description="What you have used, and what is left." />
      <ProblemAlert error={quotas.error} onRetry={() => quotas.refetch()} />
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
        {quotas.data?.data.map((quota) => (
          <Card key={limitName(quota)}>
            <LimitBar quota={quota} />
          </Card>
        ))}
      </SimpleGrid>
    </>
  );
}
