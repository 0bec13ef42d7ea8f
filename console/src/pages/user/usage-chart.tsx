import { Card, Select, Skeleton } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { PERIODS, rangeOf, type Period } from '../../components/period';
import { PeriodControl } from '../../components/period-control';
import { ProblemAlert } from '../../components/problem-alert';
import { SeriesChart, type Point, type Series } from '../../components/series-chart';

const ALL = 'api:*';
const BY_API = 'by-api';

const COLORS = ['indigo.6', 'teal.6', 'orange.6', 'grape.6', 'cyan.6', 'yellow.7'];

async function pointsOf(period: Period, meter: string, signal: AbortSignal) {
  const query = { ...rangeOf(period), step: PERIODS[period].step, meter, user: 'me' };
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
      <ProblemAlert error={points.error} onRetry={() => points.refetch()} />
      {points.data === undefined ? (
        <Skeleton height={310} />
      ) : (
        <SeriesChart
          label="Calls"
          data={points.data}
          series={series}
          step={PERIODS[period].step}
          controls={
            <>
              <Select
                aria-label="API"
                size="xs"
                data={choices}
                value={meter}
                onChange={(value) => setMeter(value ?? ALL)}
                allowDeselect={false}
                searchable={choices.length > 8}
                w={170}
              />
              <PeriodControl size="xs" value={period} onChange={setPeriod} />
            </>
          }
        />
      )}
    </Card>
  );
}
