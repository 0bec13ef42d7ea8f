import { Group, Progress, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { components } from '../../../sdk/src/schema';
import { formatBytes, formatNumber } from './num';
import { isPast, Time } from './time';

type Quota = Pick<components['schemas']['QuotaResponse'], 'limit' | 'used' | 'remaining' | 'resetsAt'> &
  Partial<Pick<components['schemas']['QuotaResponse'], 'meter' | 'window' | 'scope'>>;

const WINDOWS = { lifetime: '', minute: 'a minute', hour: 'an hour', day: 'a day', month: 'a month' };

/** Says which limit it is: "api:api1, a day (plan)". */
export function limitName({ meter, window = 'lifetime', scope }: Partial<Quota>): string {
  const per = WINDOWS[window] === '' ? '' : `, ${WINDOWS[window]}`;
  return `${meter ?? 'Limit'}${per}${scope === undefined ? '' : ` (${scope})`}`;
}

interface LimitBarProps {
  quota: Quota;
  /** Default: the meter, window and scope. */
  label?: string;
  /** Buttons beside the label. */
  actions?: ReactNode;
}

/** A limit: what is used, what is left, and when it resets. The text says what the colour does. */
export function LimitBar({ quota, label = limitName(quota), actions }: LimitBarProps) {
  const { limit, used, remaining, resetsAt } = quota;
  const format = quota.meter === 'store.bytes' ? formatBytes : formatNumber;
  const share = limit === null ? 0 : limit === 0 ? 100 : Math.min((used / limit) * 100, 100);
  const isFull = limit !== null && remaining === 0;
  const [color, state] = isFull ? ['red', 'used up'] : share >= 80 ? ['orange', 'nearly used up'] : ['indigo', ''];
  const amounts = limit === null ? `${format(used)} used, unlimited` : `${format(used)} of ${format(limit)} used`;
  const amountsText = (
    <Text size="sm" c="dimmed" style={{ fontVariantNumeric: 'tabular-nums' }}>
      {amounts}
    </Text>
  );
  return (
    <Stack gap={6}>
      <Group justify="space-between" gap="xs" wrap={actions === undefined ? 'wrap' : 'nowrap'}>
        <Text size="sm" fw={500} style={{ overflowWrap: 'anywhere' }}>
          {label}
        </Text>
        {actions ?? amountsText}
      </Group>
      {actions !== undefined && amountsText}
      <Progress.Root size="sm" aria-hidden>
        <Progress.Section value={share} color={color} />
      </Progress.Root>
      <Group justify="space-between" gap="xs">
        <Text size="xs" c={state === '' ? 'dimmed' : `var(--mantine-color-${color}-light-color)`}>
          {remaining === null ? 'No limit' : `${format(remaining)} left${state === '' ? '' : `: ${state}`}`}
        </Text>
        {resetsAt !== null && (
          <Text size="xs" c="dimmed">
            {isPast(resetsAt) ? 'reset' : 'resets'} <Time at={resetsAt} as="relative" />
          </Text>
        )}
      </Group>
    </Stack>
  );
}
