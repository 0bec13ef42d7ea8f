import { Card, Group, NativeSelect, Progress, Skeleton, Stack, Text, Title } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { EmptyState } from '../../../components/empty-state';
import { formatNumber } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { nameOf } from '../users/user-name';
import classes from './overview.module.css';

const KINDS = {
  calls: 'Calls',
  requests: 'Requests',
  tasks: 'Tasks',
  resources: 'Resources',
  storeEntries: 'Store entries',
};

type Kind = keyof typeof KINDS;

/** Who has or does most. */
export function TopUsers() {
  const [by, setBy] = useState<Kind>('calls');
  const top = useQuery({
    queryKey: ['metrics', 'top', by],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics/top', { params: { query: { by, limit: 8 } }, signal })),
    refetchInterval: 30_000,
    placeholderData: keepPreviousData,
  });
  const first = top.data?.data[0]?.value ?? 1;
  return (
    <Card>
      <Group justify="space-between" mb="md">
        <Title order={2} size="h4">
          Top users
        </Title>
        <NativeSelect
          aria-label="Rank by"
          size="xs"
          w={150}
          data={Object.entries(KINDS).map(([value, label]) => ({ value, label }))}
          value={by}
          onChange={(event) => setBy(event.currentTarget.value as Kind)}
        />
      </Group>
      <ProblemAlert error={top.error} onRetry={() => top.refetch()} />
      <div className={classes.list}>
        {top.isPending && <Skeleton height={340} />}
        {top.data?.data.length === 0 && (
          <EmptyState title={`No ${KINDS[by].toLowerCase()} yet`}>
            Users appear here as soon as they have some.
          </EmptyState>
        )}
        <Stack component="ol" gap="sm" className={classes.plain}>
          {top.data?.data.map(({ user, value }) => (
            <li key={user.id}>
              <Group justify="space-between" wrap="nowrap" gap="xs">
                <Link to="/users/$user" params={{ user: user.id }} className={classes.link}>
                  {nameOf(user)}
                </Link>
                <Text size="sm" c="dimmed" style={{ fontVariantNumeric: 'tabular-nums' }}>
                  {formatNumber(value)}
                </Text>
              </Group>
              <Progress.Root size={4} aria-hidden mt={4}>
                <Progress.Section value={(value / first) * 100} />
              </Progress.Root>
            </li>
          ))}
        </Stack>
      </div>
    </Card>
  );
}
