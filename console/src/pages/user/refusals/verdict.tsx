import { Alert, Card, Stack, Text, Title } from '@mantine/core';
import { IconCircleCheck, IconHandStop } from '@tabler/icons-react';
import type { components } from '../../../../../sdk/src/schema';
import { JudgedLimits } from './judged-limits';
import { REASONS } from './reasons';

interface VerdictProps {
  verdict: Pick<components['schemas']['VerifyResponse'], 'allowed' | 'code' | 'limits'>;
}

/** What would happen to a call with a key now. */
export function Verdict({ verdict }: VerdictProps) {
  const { allowed, code, limits } = verdict;
  const reason = REASONS[code];
  return (
    <Stack>
      <Alert
        color={allowed ? 'green' : 'orange'}
        icon={allowed ? <IconCircleCheck /> : <IconHandStop />}
        title={allowed ? reason?.title : `A call now would be refused: ${(reason?.title ?? code).toLowerCase()}`}
      >
        <Text size="sm">{reason?.next}</Text>
      </Alert>
      {(allowed || limits.length > 0) && (
        <Card>
          <Title order={2} size="h4" mb="md">
            Limits that are checked
          </Title>
          <JudgedLimits limits={limits} violated={allowed ? [] : limits.filter(({ remaining }) => remaining === 0)} />
        </Card>
      )}
    </Stack>
  );
}
