import { Alert, Anchor, Button, Code, Group, Stack, Text } from '@mantine/core';
import { IconAlertCircle } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { explain } from '../api/explain';
import { ApiProblem } from '../api/problem';
import { LimitBar, limitName } from './limit-bar';

interface ProblemAlertProps {
  /** Of a query or a mutation; nothing is shown for null. */
  error: unknown;
  /** Shows a button that tries again. */
  onRetry?: () => unknown;
  /** False where the fields of a form show their own errors. Default: true. */
  showsFields?: boolean;
}

/** Explains an error: what happened, what to do next, the limits of a denial, and the request id for an administrator. */
export function ProblemAlert({ error, onRetry, showsFields = true }: ProblemAlertProps) {
  if (error === null || error === undefined) return null;
  const { title, message, next } = explain(error);
  const problem = error instanceof ApiProblem ? error : undefined;
  return (
    <Alert color="red" icon={<IconAlertCircle />} title={title} role="alert">
      <Stack gap="xs">
        {message !== '' && <Text size="sm">{message}</Text>}
        {next !== undefined && <Text size="sm">{next}</Text>}
        {problem?.code === 'totp_setup_required' && (
          <Anchor component={Link} to="/account" size="sm">
            Go to Account
          </Anchor>
        )}
        {showsFields && problem !== undefined && problem.errors.length > 0 && (
          <ul style={{ margin: 0, paddingLeft: '1.2rem' }}>
            {problem.errors.map(({ pointer, detail }) => (
              <li key={pointer}>
                <Code>{pointer.slice(1) || 'body'}</Code> {detail}
              </li>
            ))}
          </ul>
        )}
        {problem?.limits.map((limit) => (
          <LimitBar key={limitName(limit)} quota={limit} />
        ))}
        {problem !== undefined && (
          <Text size="xs">
            <Code>{problem.code}</Code>
            {problem.requestId !== undefined && (
              <>
                {' '}
                Request id <Code>{problem.requestId}</Code>
              </>
            )}
          </Text>
        )}
        {onRetry !== undefined && (
          <Group>
            <Button size="xs" variant="default" onClick={() => void onRetry()}>
              Try again
            </Button>
          </Group>
        )}
      </Stack>
    </Alert>
  );
}
