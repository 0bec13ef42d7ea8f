import { Button, Group, Text, Title } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { Num } from '../../../components/num';
import { rowsOf } from '../../../components/rows-of';
import { rangeOf, type Period } from '../../../components/period';

type Row = components['schemas']['RouteResponse'];

const FIRST = 8;

const MILLISECONDS = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const NUMBER = { fontVariantNumeric: 'tabular-nums', whiteSpace: 'nowrap' } as const;

/** Lets a path break before its slashes. */
const breakable = (route: string) => route.split(/(?=\/)/).flatMap((part, index) => [<wbr key={index} />, part]);

const COLUMNS: Column<Row>[] = [
  {
    header: 'Route',
    render: ({ method, route }) => (
      <Text size="xs" ff="monospace" span>
        <Text c="dimmed" inherit span>
          {method}
        </Text>{' '}
        {breakable(route)}
      </Text>
    ),
  },
  { header: 'Requests', render: ({ requests }) => <Num value={requests} />, align: 'right' },
  { header: 'Error rate', render: (row) => <ErrorRate row={row} />, align: 'right' },
  { header: '4xx', render: ({ clientErrors }) => <Num value={clientErrors} />, align: 'right', onPhone: false },
  {
    header: '5xx',
    render: ({ serverErrors }) => (
      <Text size="sm" span {...(serverErrors > 0 ? { c: 'var(--mantine-color-red-light-color)' } : {})}>
        <Num value={serverErrors} />
      </Text>
    ),
    align: 'right',
    onPhone: false,
  },
  {
    header: 'Average',
    render: ({ averageMilliseconds }) => <span style={NUMBER}>{MILLISECONDS.format(averageMilliseconds)} ms</span>,
    align: 'right',
  },
];

/** Error rate and latency of each route in a period, the busiest first. */
export function Routes({ period }: { period: Period }) {
  const [isWhole, setWhole] = useState(false);
  const routes = useQuery({
    queryKey: ['metrics', 'routes', period],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics/routes', { params: { query: rangeOf(period) }, signal })),
    refetchInterval: 30_000,
    placeholderData: keepPreviousData,
  });
  const pages = rowsOf(routes);
  const rows = [...pages.rows].sort((a, b) => b.requests - a.requests);
  return (
    <div>
      <Group justify="space-between" mb="md">
        <Title order={2} size="h4">
          Requests by route
        </Title>
        {rows.length > FIRST && (
          <Button size="xs" variant="default" onClick={() => setWhole(!isWhole)} aria-expanded={isWhole}>
            {isWhole ? 'Show the busiest' : `Show all ${String(rows.length)}`}
          </Button>
        )}
      </Group>
      <DataTable
        label="Requests by route"
        columns={COLUMNS}
        pages={{ ...pages, rows: isWhole ? rows : rows.slice(0, FIRST) }}
        rowKey={({ method, route }) => `${method} ${route}`}
        empty={<EmptyState title="No requests in this period">Choose a longer period.</EmptyState>}
      />
    </div>
  );
}

function ErrorRate({ row: { requests, clientErrors, serverErrors } }: { row: Row }) {
  const share = requests === 0 ? 0 : ((clientErrors + serverErrors) / requests) * 100;
  return (
    <Text size="sm" span style={NUMBER}>
      {share.toFixed(1)} %
    </Text>
  );
}
