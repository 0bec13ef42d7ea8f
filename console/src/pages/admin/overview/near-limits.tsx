import { Card, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconGauge } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../api/schema';
import { EmptyState } from '../../../components/empty-state';
import { LimitBar, limitName } from '../../../components/limit-bar';
import { formatNumber } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { nameOf } from '../users/user-name';
import classes from './overview.module.css';

type Quota = components['schemas']['QuotaResponse'];

const SHARE = 0.8;
const MAX_SHOWN = 5;

/**
 * Who has used 80 % of a limit or more. The API has no list of these, so the quotas of the users at the top of the lists
 * are read, and those of the platform.
 */
async function readNearLimits(signal: AbortSignal) {
  const kinds = ['calls', 'tasks', 'resources', 'storeEntries'] as const;
  const tops = await Promise.all(
    kinds.map((by) => answer(api.GET('/v1/metrics/top', { params: { query: { by, limit: 10 } }, signal }))),
  );
  const users = new Map(tops.flatMap(({ data }) => data.map(({ user }) => [user.id, user])));
  const [platform, ...owners] = await Promise.all([
    answer(api.GET('/v1/platform/quotas', { signal })).then(({ data }) => ({ user: undefined, quotas: data })),
    ...[...users.values()].map(async (user) => {
      const list = api.GET('/v1/users/{user}/quotas', { params: { path: { user: user.id } }, signal });
      return { user, quotas: (await answer(list)).data };
    }),
  ]);
  const near = [platform, ...owners]
    .flatMap(({ user, quotas }) => quotas.map((quota) => ({ user, quota, share: shareOf(quota) })))
    .filter(({ share }) => share >= SHARE)
    .sort((a, b) => b.share - a.share);
  return { near, checked: users.size };
}

function shareOf({ limit, used }: Quota): number {
  // A limit of 0 is a decision, not a warning.
  return limit === null || limit === 0 ? 0 : used / limit;
}

export function NearLimits() {
  const query = useQuery({
    queryKey: ['metrics', 'near-limits'],
    queryFn: ({ signal }) => readNearLimits(signal),
    refetchInterval: 60_000,
    staleTime: 30_000,
  });
  const { data } = query;
  return (
    <Card>
      <Title order={2} size="h4">
        At 80 % of a limit or more
      </Title>
      <Text size="xs" c="dimmed" mb="md" mih={19}>
        {data && `The platform and the ${formatNumber(data.checked)} users at the top of the lists.`}
      </Text>
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      <div className={classes.list}>
        {query.isPending && <Skeleton height={340} />}
        {data?.near.length === 0 && (
          <EmptyState title="Nobody is near a limit" icon={IconGauge}>
            Those who have used most have room left.
          </EmptyState>
        )}
        <Stack gap="md">
          {data?.near.slice(0, MAX_SHOWN).map(({ user, quota }) => (
            <div key={`${user?.id ?? 'platform'} ${limitName(quota)}`}>
              {user === undefined ? (
                <Link to="/platform" className={classes.link}>
                  The platform
                </Link>
              ) : (
                <Link to="/users/$user" params={{ user: user.id }} className={classes.link}>
                  {nameOf(user)}
                </Link>
              )}
              <LimitBar quota={quota} />
            </div>
          ))}
          {data !== undefined && data.near.length > MAX_SHOWN && (
            <Text size="sm" c="dimmed">
              and {formatNumber(data.near.length - MAX_SHOWN)} more
            </Text>
          )}
        </Stack>
      </div>
    </Card>
  );
}
