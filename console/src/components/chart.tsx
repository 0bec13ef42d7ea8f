import { AreaChart, BarChart } from '@mantine/charts';
import '@mantine/charts/styles.css';
import '@mantine/core/styles/ColorSwatch.css';
import { formatNumber } from './num';
import type { SeriesChartProps } from './series-chart';

const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', timeZone: 'UTC' });
const HOUR = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: 'numeric', minute: '2-digit' });

/** The library's chart; `SeriesChart` loads it when it is first shown. */
export default function Chart({ data, series, step, kind = 'bar', height = 240 }: SeriesChartProps) {
  // Days of the API begin at 00:00 UTC, so that in the reader's zone they could be named by the day before.
  const format = step === 'day' ? DAY : HOUR;
  const rows = data.map(({ at, ...numbers }) => ({ at: format.format(new Date(at)), ...numbers }));
  const shared = {
    h: height,
    data: rows,
    dataKey: 'at',
    series,
    withLegend: series.length > 1,
    // In the order of the series, not of the alphabet.
    legendProps: { itemSorter: null },
    tickLine: 'none' as const,
    gridAxis: 'x' as const,
    valueFormatter: (value: number) => formatNumber(value),
    yAxisProps: { tickFormatter: (value: number) => formatNumber(value, true), width: 44, allowDecimals: false },
    xAxisProps: { minTickGap: 24 },
  };
  return kind === 'bar' ? (
    <BarChart {...shared} type="stacked" barProps={{ isAnimationActive: false }} />
  ) : (
    <AreaChart {...shared} curveType="monotone" withDots={false} areaProps={{ isAnimationActive: false }} />
  );
}
