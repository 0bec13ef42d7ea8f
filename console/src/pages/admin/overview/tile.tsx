import { Card, Skeleton, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { formatNumber } from '../../../components/num';

interface TileProps {
  label: string;
  /** A number, or a text such as "1.2 %"; undefined while it loads. */
  value: number | string | undefined;
  note?: ReactNode;
}

/** One number with its name. */
export function Tile({ label, value, note }: TileProps) {
  return (
    <Card padding="md">
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text fz={24} lh="34px" fw={600} mih={34} style={{ fontVariantNumeric: 'tabular-nums' }} component="div">
        {value === undefined ? (
          <Skeleton height={24} width={80} mt={5} />
        ) : typeof value === 'number' ? (
          formatNumber(value)
        ) : (
          value
        )}
      </Text>
      {note !== undefined && (
        <Text size="xs" c="dimmed" component="div">
          {note}
        </Text>
      )}
    </Card>
  );
}
