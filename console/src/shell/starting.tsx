import { Center, Loader, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { resume } from '../api/session';
import { ProblemAlert } from '../components/problem-alert';

/** Resumes the session of the cookie, until the server has answered. */
export function Starting() {
  const { error, failureReason } = useQuery({
    queryKey: ['session'],
    queryFn: resume,
    retry: true,
    retryDelay: 2_000,
    staleTime: Infinity,
  });
  return (
    <Center component="main" mih="100dvh" p="md">
      <Stack align="center">
        <Loader size="sm" role="status" aria-label="Starting" />
        <ProblemAlert error={error ?? failureReason} />
      </Stack>
    </Center>
  );
}
