import { Card, Group, Select, Skeleton, Stack } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { ProblemAlert } from '../../components/problem-alert';
import { SeriesChart, type Point, type Series } from '../../components/series-chart';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** The periods to choose from, each as a number of steps that ends with the current one. */
const PERIODS = {
  day: { label: 'Last 24 hours', step: 'hour', steps: 24 },
  week: { label: 'Last 7 days', step: 'day', steps: 7 },
  month: { label: 'Last 30 days', step: 'day', steps: 30 },
  quarter: { label: 'Last 90 days', step: 'day', steps: 90 },
} as const;

type Period = keyof typeof PERIODS;

const ALL = 'api:*';
const BY_API = 'by-api';

const COLORS = ['indigo.6', 'teal.6', 'orange.6', 'grape.6', 'cyan.6', 'yellow.7'];

/** Returns the bounds of a period, which begin and end with steps in UTC. */
function rangeOf({ step, steps }: (typeof PERIODS)[Period], now = Date.now()): { from: string; to: string } {
  const size = step === 'hour' ? HOUR_MS : DAY_MS;
  const to = (Math.floor(now / size) + 1) * size;
  return { from: new Date(to - steps * size).toISOString(), to: new Date(to).toISOString() };
}

async function pointsOf(period: Period, meter: string, signal: AbortSignal) {
  const query = { ...rangeOf(PERIODS[period]), step: PERIODS[period].step, meter, user: 'me' };
  return (await answer(api.GET('/v1/metrics/series', { params: { query }, signal }))).data;
}

/** Granted calls of several APIs, one series each. */
async function pointsByApi(period: Period, slugs: string[], signal: AbortSignal): Promise<Point[]> {
  const each = await Promise.all(slugs.map((slug) => pointsOf(period, `api:${slug}`, signal)));
  return (each[0] ?? []).map(({ at }, index) => ({
    at,
    ...Object.fromEntries(slugs.map((slug, api) => [slug, each[api]?.[index]?.granted ?? 0])),
  }));
}

const GRANTED_AND_DENIED: Series[] = [
  { name: 'granted', label: 'Granted', color: 'indigo.6' },
  { name: 'denied', label: 'Denied', color: 'orange.6' },
];

/** The calls of the user over time, of all APIs, of one, or side by side. */
export function UsageChart({ apis }: { apis: string[] }) {
  const [period, setPeriod] = useState<Period>('month');
  const [meter, setMeter] = useState(ALL);
  const compared = apis.slice(0, COLORS.length);
  const isByApi = meter === BY_API;
  const points = useQuery({
    queryKey: ['metrics', 'me', 'series', period, meter, isByApi ? compared : []],
    queryFn: ({ signal }): Promise<Point[]> =>
      isByApi ? pointsByApi(period, compared, signal) : pointsOf(period, meter, signal),
    placeholderData: keepPreviousData,
  });
  const series = isByApi
    ? compared.map((slug, index) => ({ name: slug, label: slug, color: COLORS[index] ?? 'gray.6' }))
    : GRANTED_AND_DENIED;
  const choices = [
    { value: ALL, label: 'All APIs' },
    ...(apis.length > 1 ? [{ value: BY_API, label: 'APIs side by side' }] : []),
    ...apis.map((slug) => ({ value: `api:${slug}`, label: slug })),
  ];
  return (
    <Card>
      <Stack>
        <Group gap="sm">
          <Select
            label="Period"
            size="xs"
            data={Object.entries(PERIODS).map(([value, { label }]) => ({ value, label }))}
            value={period}
            onChange={(value) => setPeriod(value as Period)}
            allowDeselect={false}
          />
          <Select
            label="API"
            size="xs"
            data={choices}
            value={meter}
            onChange={(value) => setMeter(value ?? ALL)}
            allowDeselect={false}
            searchable={choices.length > 8}
          />
        </Group>
        <ProblemAlert error={points.error} onRetry={() => points.refetch()} />
        {points.data === undefined ? (
          <Skeleton height={300} />
        ) : (
          <SeriesChart label="Calls" data={points.data} series={series} step={PERIODS[period].step} />
        )}
      </Stack>
    </Card>
  );
}
