import { Select, SimpleGrid, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { CallsChart } from '../../../components/calls-chart';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { Num } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { Time } from '../../../components/time';
import { Tile } from '../overview/tile';

type ByApi = components['schemas']['CallsResponse'] & { api: string };

const API_COLUMNS: Column<ByApi>[] = [
  { header: 'API', render: (row) => row.api },
  { header: 'Granted', render: ({ granted }) => <Num value={granted} />, align: 'right' },
  { header: 'Denied', render: ({ denied }) => <Num value={denied} />, align: 'right' },
];

type Key = components['schemas']['KeyResponse'];

const KEY_COLUMNS: Column<Key>[] = [
  { header: 'Key', render: ({ name }) => name },
  { header: 'Last used', render: ({ lastUsedAt }) => <Time at={lastUsedAt} as="relative" />, align: 'right' },
];

/** What a user has called, over time, by API and by key. */
export function UserUsage({ user }: { user: string }) {
  const [meter, setMeter] = useState('api:*');
  const metrics = useQuery({
    queryKey: ['metrics', 'user', user],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics/users/{user}', { params: { path: { user } }, signal })),
  });
  const keys = usePages(['keys', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/keys', { params: { query: { owner: user, cursor } }, signal })),
  );
  const { data } = metrics;
  const apis = Object.entries(data?.calls.byApi ?? {}).map(([slug, calls]) => ({ api: slug, ...calls }));
  return (
    <Stack>
      <ProblemAlert error={metrics.error} onRetry={() => metrics.refetch()} />
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="sm">
        <Tile label="Calls granted" value={data?.calls.granted} note="since the beginning" />
        <Tile label="Calls denied" value={data?.calls.denied} note="since the beginning" />
        <Tile label="Requests" value={data?.requests.total} note="to this server" />
        <Tile label="Requests with errors" value={data?.requests.errors} note="4xx and 5xx" />
      </SimpleGrid>
      <CallsChart
        label={meter === 'requests' ? 'Requests' : 'Calls'}
        of={{ user, meter }}
        controls={
          <Select
            aria-label="API"
            size="xs"
            data={[
              { value: 'api:*', label: 'Calls to all APIs' },
              ...apis.map((each) => ({ value: `api:${each.api}`, label: `Calls to ${each.api}` })),
              { value: 'requests', label: 'Requests to this server' },
            ]}
            value={meter}
            onChange={(next) => setMeter(next ?? 'api:*')}
            allowDeselect={false}
            w={190}
          />
        }
      />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <div>
          <DataTable
            label="Calls by API, since the beginning"
            columns={API_COLUMNS}
            pages={{
              rows: apis,
              query: {
                ...metrics,
                hasNextPage: false,
                isFetchingNextPage: false,
                fetchNextPage: metrics.refetch,
              },
            }}
            rowKey={(row) => row.api}
            empty={<EmptyState title="No calls yet">Calls are counted with the user’s API keys.</EmptyState>}
          />
        </div>
        <div>
          <DataTable
            label="API keys"
            columns={KEY_COLUMNS}
            pages={keys}
            rowKey={({ id }) => id}
            rowLink={({ id }) => ({ to: '/keys/$id', params: { id } })}
            empty={<EmptyState title="No API keys" />}
          />
        </div>
      </SimpleGrid>
    </Stack>
  );
}
