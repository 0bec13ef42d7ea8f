import { Button, Group, Stack, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ProblemAlert } from '../../../components/problem-alert';
import { SecretOnce } from '../../../components/secret-once';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';

/** Makes a link that sets a new password, to hand to the user. */
export function ResetLink({ user }: { user: string }) {
  const link = useMutationWithNotice({
    mutationFn: () => answer(api.POST('/v1/users/{user}/reset-link', { params: { path: { user } } })),
    invalidates: [['audit']],
    // The dialog shows errors.
    form: { setErrors: () => undefined },
  });
  if (link.data !== undefined) {
    return (
      <SecretOnce label="Link" secret={link.data.url} onDone={() => modals.closeAll()}>
        <Text size="sm">
          It can be used once, until <Time at={link.data.expiresAt} />.
        </Text>
      </SecretOnce>
    );
  }
  return (
    <Stack>
      <Text size="sm">
        Creates a link with which a new password can be set, and invalidates the previous link. Hand it over in a way
        that only the user can read. The password of today stays valid until the link is used.
      </Text>
      <ProblemAlert error={link.error} />
      <Group justify="flex-end" gap="xs">
        <Button variant="default" onClick={() => modals.closeAll()}>
          Cancel
        </Button>
        <Button loading={link.isPending} onClick={() => link.mutate()} data-autofocus>
          Create the link
        </Button>
      </Group>
    </Stack>
  );
}
