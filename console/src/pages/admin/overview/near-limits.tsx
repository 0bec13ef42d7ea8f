import { Card, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconGauge } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { EmptyState } from '../../../components/empty-state';
import { LimitBar, limitName } from '../../../components/limit-bar';
import { ProblemAlert } from '../../../components/problem-alert';
import { nameOf } from '../users/user-name';
import classes from './overview.module.css';

type Quota = components['schemas']['QuotaResponse'];

interface NearLimit {
  /** Missing: a limit of the platform. */
  user?: components['schemas']['RankedUser'];
  keyId?: string | null;
  quota: Quota;
  share: number;
}

const SHARE = 0.8;
const MAX_SHOWN = 5;

/** Limits that are used up to 80 % or more, of all users and of the platform, highest share first. */
async function readNearLimits(signal: AbortSignal): Promise<NearLimit[]> {
  const [users, platform] = await Promise.all([
    answer(api.GET('/v1/metrics/near-limits', { params: { query: { share: SHARE, limit: MAX_SHOWN } }, signal })),
    answer(api.GET('/v1/platform/quotas', { signal })),
  ]);
  const near = [
    ...users.data.map(({ user, keyId, share, ...quota }) => ({ user, keyId, share, quota })),
    ...platform.data.map((quota) => ({ quota, share: shareOf(quota) })).filter(({ share }) => share >= SHARE),
  ];
  return near.sort((a, b) => b.share - a.share).slice(0, MAX_SHOWN);
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
      <Text size="xs" c="dimmed" mb="md">
        Limits of the platform, plans, users and keys: the {MAX_SHOWN} that are used most.
      </Text>
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      <div className={classes.list}>
        {query.isPending && <Skeleton height={340} />}
        {data?.length === 0 && (
          <EmptyState title="Nobody is near a limit" icon={IconGauge}>
            No limit is used to 80 %.
          </EmptyState>
        )}
        <Stack gap="md">
          {data?.map(({ user, keyId, quota }) => (
            <div key={`${user?.id ?? 'platform'} ${keyId ?? ''} ${limitName(quota)}`}>
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
        </Stack>
      </div>
    </Card>
  );
}
