import { Badge, Group, Stack, Text } from '@mantine/core';
import type { Limit } from '../../../api/problem';
import { LimitBar, limitName } from '../../../components/limit-bar';

interface JudgedLimitsProps {
  limits: Limit[];
  /** The limits that the call would exceed. */
  violated: Limit[];
}

/** Every limit that was checked; those that refused the call come first. */
export function JudgedLimits({ limits, violated }: JudgedLimitsProps) {
  const names = violated.map((limit) => limitName(limit));
  const isViolated = (limit: Limit): boolean => names.includes(limitName(limit));
  const sorted = [...limits].sort((a, b) => Number(isViolated(b)) - Number(isViolated(a)));
  if (limits.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        No limit was checked.
      </Text>
    );
  }
  return (
    <Stack gap="lg">
      {sorted.map((limit) => (
        <div key={limitName(limit)}>
          {isViolated(limit) && (
            <Group mb={4}>
              <Badge color="red">refused the call</Badge>
            </Group>
          )}
          <LimitBar quota={limit} />
        </div>
      ))}
    </Stack>
  );
}
