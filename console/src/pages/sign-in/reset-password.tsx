import { Alert, Anchor, Button, PasswordInput, Stack, Text } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { publicApi } from '../../api/session';
import { formErrors } from '../../components/form-errors';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { useLinkToken } from './use-link-token';

/** Sets a new password with the token of a link. */
export default function ResetPassword() {
  const { token, forget } = useLinkToken();
  const form = useForm({ mode: 'uncontrolled', initialValues: { newPassword: '' } });
  const { mutate, isPending, isSuccess, error } = useMutation({
    mutationFn: ({ newPassword }: typeof form.values) =>
      answer(publicApi.POST('/v1/auth/recovery/confirm', { body: { token, newPassword } })),
    onSuccess: forget,
    onError: (problem) => form.setErrors(formErrors(problem)),
  });
  return (
    <>
      <PageHeader title="Set a new password" />
      <Stack>
        {isSuccess && (
          <Alert color="green" title="Your password is set" role="status">
            Sign in with it. All earlier sessions have ended.
          </Alert>
        )}
        {!isSuccess && token === '' && (
          <Text size="sm">The link is incomplete. Open the whole link from the e-mail, or ask for another one.</Text>
        )}
        {!isSuccess && token !== '' && (
          <form onSubmit={form.onSubmit((values) => mutate(values))}>
            <Stack>
              <PasswordInput
                label="New password"
                description="This ends all sessions of the account."
                autoComplete="new-password"
                required
                withAsterisk={false}
                key={form.key('newPassword')}
                {...form.getInputProps('newPassword')}
              />
              <ProblemAlert error={error} showsFields={false} />
              <Button type="submit" loading={isPending} fullWidth>
                Set the password
              </Button>
            </Stack>
          </form>
        )}
        <Anchor component={Link} to={isSuccess ? '/sign-in' : '/forgot-password'} size="sm">
          {isSuccess ? 'Sign in' : 'Ask for another link'}
        </Anchor>
      </Stack>
    </>
  );
}
