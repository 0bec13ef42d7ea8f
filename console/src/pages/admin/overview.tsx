import { SimpleGrid, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { formatNumber } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { PERIODS, type Period } from '../../components/period';
import { PeriodControl } from '../../components/period-control';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { CallsByApi } from './overview/calls-by-api';
import { Health } from './overview/health';
import { NearLimits } from './overview/near-limits';
import { Routes } from './overview/routes';
import { Tile } from './overview/tile';
import { TopUsers } from './overview/top-users';

/** Milliseconds between refreshes of the numbers. */
const REFRESH_MS = 10_000;

/** What the platform does now. It refreshes itself. */
export default function Overview() {
  const { period: chosen = 'week' } = useSearch({ from: '/shell/overview' });
  const navigate = useNavigate({ from: '/overview' });
  const period = (chosen in PERIODS ? chosen : 'week') as Period;
  const metrics = useQuery({
    queryKey: ['metrics', 'platform'],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics', { signal })),
    refetchInterval: REFRESH_MS,
  });
  const platform = useQuery({
    queryKey: ['platform', 'settings'],
    queryFn: ({ signal }) => answer(api.GET('/v1/platform', { signal })),
  });
  const { data } = metrics;
  const bound = platform.data?.totalObjects;

  return (
    <>
      <PageHeader
        title="Overview"
        description={
          <Text size="sm" span aria-live="off">
            What the platform does now.{' '}
            {data !== undefined && (
              <>
                Numbers as of <Time at={data.asOf} as="seconds" />.
              </>
            )}
          </Text>
        }
        actions={
          <PeriodControl
            value={period}
            onChange={(next) => void navigate({ search: { period: next }, replace: true })}
          />
        }
      />
      <Stack gap="lg">
        <ProblemAlert error={metrics.error} onRetry={() => metrics.refetch()} />
        <SimpleGrid cols={{ base: 2, md: 3, xl: 6 }} spacing="sm">
          <Tile label="Users" value={data?.users} />
          <Tile
            label="Objects"
            value={data?.objects.total}
            note={bound === undefined || bound === null ? 'no bound' : `of at most ${formatNumber(bound)}`}
          />
          <Tile
            label="Credits used"
            value={data?.credits.used}
            note={data && `${formatNumber(data.credits.granted)} granted`}
          />
          <Tile label="Calls granted" value={data?.calls.granted} note="since the beginning" />
          <Tile
            label="Calls denied"
            value={data?.calls.denied}
            note={data && `${percent(data.calls.denied, data.calls.granted + data.calls.denied)} of all`}
          />
          <Tile
            label="Requests"
            value={data?.requests.total}
            note={data && `${percent(data.requests.errors, data.requests.total)} errors`}
          />
        </SimpleGrid>
        <CallsByApi period={period} />
        <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
          <TopUsers />
          <NearLimits />
        </SimpleGrid>
        <Routes period={period} />
        <Health />
      </Stack>
    </>
  );
}

function percent(part: number, whole: number): string {
  const share = whole === 0 ? 0 : (part / whole) * 100;
  return `${share.toFixed(share !== 0 && share < 10 ? 1 : 0)} %`;
}
