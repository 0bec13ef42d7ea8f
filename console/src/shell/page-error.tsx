import { Stack } from '@mantine/core';
import type { ErrorComponentProps } from '@tanstack/react-router';
import { PageHeader } from '../components/page-header';
import { ProblemAlert } from '../components/problem-alert';

/** Stands in for a page that has failed; the shell around it stays. */
export function PageError({ error, reset }: ErrorComponentProps) {
  return (
    <Stack>
      <PageHeader title="This page has failed" />
      <ProblemAlert error={error} onRetry={reset} />
    </Stack>
  );
}
