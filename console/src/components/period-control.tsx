import { SegmentedControl } from '@mantine/core';
import { PERIODS, type Period } from './period';

interface PeriodControlProps {
  value: Period;
  onChange: (period: Period) => void;
  /** Default: the size of other controls. */
  size?: 'xs';
}

/** Chooses the period of a page or a chart. */
export function PeriodControl({ value, onChange, size }: PeriodControlProps) {
  return (
    <SegmentedControl
      aria-label="Period"
      data={Object.entries(PERIODS).map(([period, { label }]) => ({ value: period as Period, label }))}
      value={value}
      onChange={onChange}
      {...(size === undefined ? {} : { size })}
    />
  );
}
