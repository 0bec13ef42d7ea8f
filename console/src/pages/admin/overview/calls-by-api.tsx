import { Card, SegmentedControl, Skeleton } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { useCatalogue } from '../../../api/use-catalogue';
import { ProblemAlert } from '../../../components/problem-alert';
import { SeriesChart, type Point } from '../../../components/series-chart';
import { PERIODS, rangeOf, type Period } from '../../../components/period';

const REFRESH_MS = 30_000;

/** The colours of the busiest APIs; all others are one series. */
const COLORS = ['indigo.6', 'teal.6', 'orange.5', 'blue.4', 'yellow.6'];

type Kind = 'granted' | 'denied';

/** Calls of all users over time: those granted or those denied, by API. */
export function CallsByApi({ period }: { period: Period }) {
  const [kind, setKind] = useState<Kind>('granted');
  const catalogue = useCatalogue();
  const slugs = catalogue.data?.map(({ slug }) => slug);
  const { step } = PERIODS[period];
  const series = useQuery({
    queryKey: ['series', 'platform', period, slugs],
    queryFn: ({ signal }) => {
      const range = rangeOf(period);
      const read = (meter: string) =>
        answer(api.GET('/v1/metrics/series', { params: { query: { meter, step, ...range } }, signal }));
      return Promise.all([
        read('api:*'),
        Promise.all((slugs ?? []).map(async (slug) => ({ slug, points: (await read(`api:${slug}`)).data }))),
      ]);
    },
    enabled: slugs !== undefined,
    refetchInterval: REFRESH_MS,
    placeholderData: keepPreviousData,
  });

  const [all, byApi] = series.data ?? [{ data: [] }, []];
  const sum = (points: { granted: number; denied: number }[]): number =>
    points.reduce((total, point) => total + point[kind], 0);
  const shown = byApi
    .filter(({ points }) => sum(points) > 0)
    .sort((a, b) => sum(b.points) - sum(a.points))
    .slice(0, COLORS.length);
  const data: Point[] = all.data.map((point, index) => {
    const parts = shown.map(({ slug, points }) => [slug, points[index]?.[kind] ?? 0] as const);
    const others = point[kind] - parts.reduce((total, [, value]) => total + value, 0);
    return { at: point.at, ...Object.fromEntries(parts), others: Math.max(others, 0) };
  });
  const hasOthers = data.some(({ others }) => Number(others) > 0);

  return (
    <Card>
      <ProblemAlert error={catalogue.error ?? series.error} onRetry={() => series.refetch()} />
      {series.data === undefined ? (
        <Skeleton height={330} />
      ) : (
        <SeriesChart
          label={`Calls ${kind} by API`}
          data={data}
          series={[
            ...shown.map(({ slug }, index) => ({ name: slug, label: slug, color: COLORS[index] ?? 'gray.5' })),
            ...(hasOthers || shown.length === 0 ? [{ name: 'others', label: 'Other APIs', color: 'gray.5' }] : []),
          ]}
          step={step}
          height={260}
          controls={
            <SegmentedControl
              aria-label="Calls"
              size="xs"
              data={[
                { value: 'granted', label: 'Granted' },
                { value: 'denied', label: 'Denied' },
              ]}
              value={kind}
              onChange={(next) => setKind(next)}
            />
          }
        />
      )}
    </Card>
  );
}
