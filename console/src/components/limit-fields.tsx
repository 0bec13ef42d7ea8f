import { Checkbox, NumberInput, Select, Stack } from '@mantine/core';
import type { components } from '../../../sdk/src/schema';
import { useCatalogue } from '../api/use-catalogue';
import { formatBytes } from './num';

export type LimitDto = Required<components['schemas']['LimitDto']>;
export type Window = LimitDto['window'];

/** Meters that count what exists. Their only window is `lifetime`. */
const GAUGES = ['tasks', 'resources', 'store.entries', 'store.bytes'];

const WINDOWS: { value: Window; label: string }[] = [
  { value: 'minute', label: 'a minute' },
  { value: 'hour', label: 'an hour' },
  { value: 'day', label: 'a day' },
  { value: 'month', label: 'a month' },
  { value: 'lifetime', label: 'lifetime' },
];

export function isGauge(meter: string): boolean {
  return GAUGES.includes(meter);
}

interface LimitFieldsProps {
  value: LimitDto;
  onChange: (limit: LimitDto) => void;
  /** Only the amount can be changed. */
  isFixed?: boolean;
  errors?: { meter?: string | undefined; window?: string | undefined; limit?: string | undefined };
}

/** One limit: what it counts, in which window, and how much. */
export function LimitFields({ value, onChange, isFixed = false, errors = {} }: LimitFieldsProps) {
  const catalogue = useCatalogue();
  const meters = [...GAUGES, 'api:*', ...(catalogue.data ?? []).map(({ slug }) => `api:${slug}`)];
  const change = (part: Partial<LimitDto>): void => onChange({ ...value, ...part });
  return (
    <Stack gap="sm">
      {!isFixed && (
        <>
          <Select
            label="Meter"
            description="api:* counts calls to all APIs."
            data={meters.includes(value.meter) ? meters : [value.meter, ...meters]}
            value={value.meter}
            onChange={(meter) =>
              meter !== null &&
              change({ meter, window: isGauge(meter) ? 'lifetime' : isGauge(value.meter) ? 'month' : value.window })
            }
            allowDeselect={false}
            searchable
            error={errors.meter}
          />
          <Select
            label="Window"
            description={isGauge(value.meter) ? 'This meter counts what exists.' : 'Windows begin and end in UTC.'}
            data={WINDOWS}
            value={value.window}
            onChange={(window) => window !== null && change({ window })}
            allowDeselect={false}
            disabled={isGauge(value.meter)}
            error={errors.window}
          />
        </>
      )}
      <AmountInput
        meter={value.meter}
        value={value.limit}
        onChange={(limit) => change({ limit })}
        error={errors.limit}
      />
    </Stack>
  );
}

interface AmountInputProps {
  meter: string;
  value: number | null;
  onChange: (limit: number | null) => void;
  /** Default: Limit. */
  label?: string;
  description?: string;
  /** What null means. Default: Unlimited. */
  noneLabel?: string;
  error?: string | undefined;
}

/** The amount of a limit; null is unlimited. */
export function AmountInput({
  meter,
  value,
  onChange,
  label = 'Limit',
  description = '0 grants nothing.',
  noneLabel = 'Unlimited',
  error,
}: AmountInputProps) {
  const size = meter === 'store.bytes' && value !== null ? `${formatBytes(value)}. ` : '';
  return (
    <Stack gap="xs">
      <NumberInput
        label={label}
        description={`${size}${description}`}
        value={value ?? ''}
        onChange={(amount) => onChange(typeof amount === 'number' ? amount : Number(amount || 0))}
        min={0}
        max={Number.MAX_SAFE_INTEGER}
        allowDecimal={false}
        allowNegative={false}
        thousandSeparator=","
        disabled={value === null}
        placeholder={value === null ? noneLabel.toLowerCase() : ''}
        error={error}
        data-autofocus
      />
      <Checkbox
        label={noneLabel}
        checked={value === null}
        onChange={(event) => onChange(event.currentTarget.checked ? null : 0)}
      />
    </Stack>
  );
}
