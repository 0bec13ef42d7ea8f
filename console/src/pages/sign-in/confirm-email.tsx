import { Alert, Anchor, Button, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { publicApi } from '../../api/session';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { useLinkToken } from './use-link-token';

/** Confirms an e-mail address with the token of a link, on a click: programs that follow links must not use it up. */
export default function ConfirmEmail() {
  const { token, forget } = useLinkToken();
  const { mutate, isPending, isSuccess, error } = useMutation({
    mutationFn: () => answer(publicApi.POST('/v1/auth/email-confirmation/confirm', { body: { token } })),
    onSuccess: forget,
  });
  return (
    <>
      <PageHeader title="Confirm your e-mail address" />
      <Stack>
        {isSuccess && <Alert color="green" title="Your e-mail address is confirmed" role="status" />}
        {!isSuccess && token === '' && (
          <Text size="sm">The link is incomplete. Open the whole link from the e-mail.</Text>
        )}
        {!isSuccess && token !== '' && (
          <>
            <Text size="sm">Confirm that the address this link was sent to is yours.</Text>
            <ProblemAlert error={error} />
            <Button onClick={() => mutate()} loading={isPending} fullWidth>
              Confirm this address
            </Button>
          </>
        )}
        <Anchor component={Link} to="/" size="sm">
          Go to the console
        </Anchor>
      </Stack>
    </>
  );
}
