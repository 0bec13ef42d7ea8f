import { Card, Skeleton } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { answer } from '../api/answer';
import { api } from '../api/client';
import type { paths } from '../../../sdk/src/schema';
import { PERIODS, rangeOf, type Period } from './period';
import { PeriodControl } from './period-control';
import { ProblemAlert } from './problem-alert';
import { SeriesChart } from './series-chart';

type Query = NonNullable<paths['/v1/metrics/series']['get']['parameters']['query']>;

interface CallsChartProps {
  label: string;
  /** What is counted: a meter, a user or a key. */
  of: Pick<Query, 'meter' | 'user' | 'key'>;
  /** Beside the period. */
  controls?: ReactNode;
}

const REFRESH_MS = 30_000;

/** Granted and denied calls, or requests, over a period to choose. */
export function CallsChart({ label, of, controls }: CallsChartProps) {
  const [period, setPeriod] = useState<Period>('month');
  const { step } = PERIODS[period];
  const series = useQuery({
    queryKey: ['series', of, period],
    queryFn: ({ signal }) =>
      answer(api.GET('/v1/metrics/series', { params: { query: { ...of, step, ...rangeOf(period) } }, signal })),
    refetchInterval: REFRESH_MS,
    placeholderData: keepPreviousData,
  });
  const isRequests = of.meter === 'requests';
  return (
    <Card>
      <ProblemAlert error={series.error} onRetry={() => series.refetch()} />
      {series.data === undefined ? (
        <Skeleton height={310} />
      ) : (
        <SeriesChart
          label={label}
          data={series.data.data.map(({ at, granted, denied }) => ({ at, granted, denied }))}
          series={[
            { name: 'granted', label: isRequests ? 'Succeeded' : 'Granted', color: 'indigo.6' },
            { name: 'denied', label: isRequests ? 'Failed' : 'Denied', color: 'orange.6' },
          ]}
          step={step}
          controls={
            <>
              {controls}
              <PeriodControl size="xs" value={period} onChange={setPeriod} />
            </>
          }
        />
      )}
    </Card>
  );
}
