import { Alert, Anchor, Button, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { publicApi } from '../../api/session';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';

/** Asks for an e-mail with a link that sets a new password. */
export default function ForgotPassword() {
  const form = useForm({ mode: 'uncontrolled', initialValues: { login: '' } });
  const { mutate, isPending, isSuccess, error } = useMutation({
    mutationFn: ({ login }: typeof form.values) =>
      answer(publicApi.POST('/v1/auth/recovery', { body: { login: login.trim() } })),
  });
  return (
    <>
      <PageHeader
        title="Forgot your password?"
        description="Enter your username or e-mail address. If the account exists, a link is sent to its e-mail address."
      />
      <Stack>
        {isSuccess ? (
          <Alert color="green" title="Look into your mailbox" role="status">
            If the account exists and has an e-mail address, a link was sent to it. The link works for 30 minutes. If
            the account has no e-mail address, ask an administrator for a link.
          </Alert>
        ) : (
          <form onSubmit={form.onSubmit((values) => mutate(values))}>
            <Stack>
              <TextInput
                label="Username or e-mail address"
                autoComplete="username"
                autoCapitalize="none"
                spellCheck={false}
                maxLength={254}
                required
                withAsterisk={false}
                key={form.key('login')}
                {...form.getInputProps('login')}
              />
              <ProblemAlert error={error} />
              <Button type="submit" loading={isPending} fullWidth>
                Send the link
              </Button>
            </Stack>
          </form>
        )}
        <Anchor component={Link} to="/sign-in" size="sm">
          Back to sign-in
        </Anchor>
      </Stack>
    </>
  );
}
