import { Anchor, Card, SimpleGrid, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconChartBar } from '@tabler/icons-react';
import { queryOptions, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { LimitBar, limitName } from '../../components/limit-bar';
import { formatBytes, formatNumber, Num } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { rowsOf } from '../../components/rows-of';
import { UsageChart } from './usage-chart';

type Metrics = components['schemas']['UserMetricsResponse'];

const METRICS = queryOptions({
  queryKey: ['metrics', 'me'],
  queryFn: ({ signal }) => answer(api.GET('/v1/metrics/users/{user}', { params: { path: { user: 'me' } }, signal })),
});

/** What the user has used, and what is left. */
export default function Usage() {
  const metrics = useQuery(METRICS);
  const quotas = useQuery({
    queryKey: ['quotas', 'me'],
    queryFn: ({ signal }) => answer(api.GET('/v1/users/{user}/quotas', { params: { path: { user: 'me' } }, signal })),
  });
  const limits = quotas.data?.data.filter(({ limit }) => limit !== null) ?? [];
  return (
    <>
      <PageHeader title="Usage" description="What you have used, what is left, and when it resets." />
      <Stack gap="xl">
        <ProblemAlert
          error={metrics.error ?? quotas.error}
          onRetry={() => Promise.all([metrics.refetch(), quotas.refetch()])}
        />
        <Tiles metrics={metrics.data} />
        <section aria-labelledby="limits">
          <Title order={2} size="h4" mb="sm" id="limits">
            Limits
          </Title>
          <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
            {quotas.isPending && [1, 2, 3].map((each) => <Skeleton key={each} height={106} />)}
            {limits.map((quota) => (
              <Card key={limitName(quota)}>
                <LimitBar quota={quota} />
              </Card>
            ))}
          </SimpleGrid>
          {quotas.isSuccess && limits.length === 0 && <Text size="sm">No limit applies to you.</Text>}
        </section>
        <UsageChart apis={Object.keys(metrics.data?.calls.byApi ?? {}).sort()} />
        <ByApi />
      </Stack>
    </>
  );
}

function Tiles({ metrics }: { metrics: Metrics | undefined }) {
  return (
    <SimpleGrid cols={{ base: 2, sm: 3, lg: 5 }}>
      <Tile label="Calls granted" note={metrics && `${formatNumber(metrics.calls.denied)} denied`}>
        {metrics && formatNumber(metrics.calls.granted)}
      </Tile>
      <Tile
        label="Credits left"
        note={metrics && (metrics.credits === null ? 'no limit' : `of ${formatNumber(metrics.credits)}`)}
      >
        {metrics && <Num value={metrics.remainingCredits} />}
      </Tile>
      <Tile label="Tasks" note={metrics && `${formatNumber(metrics.tasks.completed)} completed`}>
        {metrics && formatNumber(metrics.tasks.total)}
      </Tile>
      <Tile label="Resources" note="that exist">
        {metrics && formatNumber(metrics.resources)}
      </Tile>
      <Tile label="Store entries" note={metrics && formatBytes(metrics.store.bytes)}>
        {metrics && formatNumber(metrics.store.entries)}
      </Tile>
    </SimpleGrid>
  );
}

function Tile({ label, note, children }: { label: string; note: ReactNode; children: ReactNode }) {
  return (
    <Card padding="md">
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      {children === undefined ? (
        <Skeleton height={28} my={3} w={90} />
      ) : (
        <Text fz={24} fw={600} component="div" style={{ fontVariantNumeric: 'tabular-nums' }}>
          {children}
        </Text>
      )}
      <Text size="xs" c="dimmed" mih={18}>
        {note}
      </Text>
    </Card>
  );
}

interface ApiRow {
  slug: string;
  granted: number;
  denied: number;
}

const COLUMNS: Column<ApiRow>[] = [
  { header: 'API', render: ({ slug }) => slug },
  { header: 'Granted', align: 'right', render: ({ granted }) => <Num value={granted} /> },
  { header: 'Denied', align: 'right', render: ({ denied }) => <Num value={denied} /> },
];

function ByApi() {
  const byApi = useQuery({
    ...METRICS,
    select: ({ calls }) => ({
      data: Object.entries(calls.byApi)
        .map(([slug, numbers]) => ({ slug, ...numbers }))
        .sort((one, other) => other.granted - one.granted),
    }),
  });
  return (
    <section aria-labelledby="by-api">
      <Title order={2} size="h4" mb="sm" id="by-api">
        Calls by API, since the account exists
      </Title>
      <DataTable
        label="Calls by API"
        columns={COLUMNS}
        pages={rowsOf(byApi)}
        rowKey={({ slug }) => slug}
        empty={
          <EmptyState icon={IconChartBar} title="No calls yet">
            <Anchor component={Link} to="/keys">
              Create an API key
            </Anchor>{' '}
            and call an API with it.
          </EmptyState>
        }
      />
    </section>
  );
}
