import { Box, Center, Group, Skeleton, Switch, Table, Text } from '@mantine/core';
import { lazy, Suspense, useState, type ReactNode } from 'react';
import { formatNumber } from './num';
import { Time } from './time';

const Chart = lazy(() => import('./chart'));

/** One point in time with a number for each series. */
export type Point = { at: string } & Record<string, number | string>;

export interface Series {
  /** The member of the points. */
  name: string;
  label: string;
  /** A Mantine colour with its shade: `indigo.6`. */
  color: string;
}

export interface SeriesChartProps {
  /** Says what is shown: the title of the chart, and its name for screen readers. */
  label: string;
  data: Point[];
  series: Series[];
  /** How long one point is: how its time is written. */
  step: 'hour' | 'day';
  /** Default: bars on top of each other. */
  kind?: 'bar' | 'area';
  /** Default: 240. */
  height?: number;
  /** What chooses the data, beside the switch. */
  controls?: ReactNode;
}

/** Numbers over time as a chart; a switch shows them as a table, which screen readers and people read digit by digit. */
export function SeriesChart(props: SeriesChartProps) {
  const { label, data, series, step, height = 240, controls } = props;
  const [asTable, setAsTable] = useState(false);
  const sums = series.map(({ name }) => data.reduce((total, point) => total + Number(point[name] ?? 0), 0));
  const totals = series.map((each, index) => `${each.label} ${formatNumber(sums[index] ?? 0)}`);
  const isEmpty = sums.every((sum) => sum === 0);
  return (
    <figure style={{ margin: 0 }}>
      <Group component="figcaption" justify="space-between" align="flex-start" mb="sm" gap="xs">
        <div>
          <Text fw={600}>{label}</Text>
          <Text size="xs" c="dimmed">
            {totals.join(', ')}
          </Text>
        </div>
        <Group gap="sm">
          {controls}
          <Switch
            size="xs"
            label="Table"
            aria-label={`${label} as a table`}
            checked={asTable}
            onChange={(event) => setAsTable(event.currentTarget.checked)}
          />
        </Group>
      </Group>
      {asTable ? (
        // Keyboard users scroll it, so it can have the focus.
        <Box mah={height} style={{ overflow: 'auto' }} tabIndex={0} role="region" aria-label={label}>
          <Table stickyHeader>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Time</Table.Th>
                {series.map((each) => (
                  <Table.Th key={each.name} scope="col" ta="right">
                    {each.label}
                  </Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {data.map((point) => (
                <Table.Tr key={point.at}>
                  <Table.Td>
                    <Time at={point.at} as={step === 'day' ? 'day' : 'time'} />
                  </Table.Td>
                  {series.map(({ name }) => (
                    <Table.Td key={name} ta="right">
                      {formatNumber(Number(point[name] ?? 0))}
                    </Table.Td>
                  ))}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Box>
      ) : (
        <div role="img" aria-label={`${label}: ${totals.join(', ')}`}>
          {isEmpty ? (
            <Center h={height} c="dimmed" fz="sm">
              None in this period
            </Center>
          ) : (
            <Suspense fallback={<Skeleton height={height} />}>
              <Chart {...props} height={height} />
            </Suspense>
          )}
        </div>
      )}
    </figure>
  );
}
