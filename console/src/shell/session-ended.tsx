import { Button, Modal, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { session } from '../api/session';
import { useStore } from '../api/store';
import { SignInForm } from '../pages/sign-in/sign-in-form';
import { CONSOLE_PATH } from '../base-path';

/** Above the command palette too. */
const ABOVE_ALL = 10_000;

/** Asks for the password again, over the page, when the session has ended by itself. */
export function SessionEnded() {
  const now = useStore(session);
  const queries = useQueryClient();
  if (now.state !== 'ended') return null;
  return (
    <Modal
      opened
      zIndex={ABOVE_ALL}
      onClose={() => undefined}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      title="Your session has ended"
    >
      <Stack>
        <Text size="sm">Sign in again to go on where you were. What you have typed stays on the page.</Text>
        <SignInForm
          login={now.user.username ?? now.user.email ?? now.user.id}
          onSignedIn={() => void queries.invalidateQueries()}
        />
        <Button variant="subtle" component="a" href={`${CONSOLE_PATH}/sign-in`}>
          Sign in as somebody else
        </Button>
      </Stack>
    </Modal>
  );
}
