import { Alert, Anchor, Button, Group, PasswordInput, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { Link, useRouter } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { ApiProblem } from '../../api/problem';
import { publicApi, signIn } from '../../api/session';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { CONSOLE_PATH } from '../../base-path';

/** Creates an account, where the platform allows it, and signs in to it. */
export default function Register() {
  const router = useRouter();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { username: '', email: '', password: '', firstName: '', lastName: '' },
  });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: async (values: typeof form.values, { idempotencyKey }) => {
      const { password, ...rest } = values;
      // An empty field is a missing one.
      const given = Object.fromEntries(Object.entries(rest).filter(([, text]) => text.trim() !== ''));
      const header = { 'Idempotency-Key': idempotencyKey };
      await answer(publicApi.POST('/v1/auth/register', { body: { ...given, password }, params: { header } }));
      await signIn(values.username.trim() || values.email.trim(), password);
    },
    form,
    onSuccess: () => router.history.replace(`${CONSOLE_PATH}/`),
  });

  const isClosed = error instanceof ApiProblem && error.code === 'forbidden';
  const field = (name: 'username' | 'email' | 'firstName' | 'lastName') => ({
    ...form.getInputProps(name),
    key: form.key(name),
  });
  return (
    <>
      <PageHeader title="Create an account" description="Enter a username, an e-mail address, or both." />
      <form onSubmit={form.onSubmit((values) => mutate(values))}>
        <Stack>
          <TextInput
            label="Username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            {...field('username')}
          />
          <TextInput label="E-mail address" type="email" autoComplete="email" {...field('email')} />
          <PasswordInput
            label="Password"
            autoComplete="new-password"
            required
            withAsterisk={false}
            key={form.key('password')}
            {...form.getInputProps('password')}
          />
          <Group grow align="flex-start">
            <TextInput label="First name (optional)" autoComplete="given-name" {...field('firstName')} />
            <TextInput label="Last name (optional)" autoComplete="family-name" {...field('lastName')} />
          </Group>
          {isClosed ? (
            <Alert color="orange" title="Registration is closed" role="alert">
              On this platform only administrators create accounts. Ask one of them.
            </Alert>
          ) : (
            <ProblemAlert error={error} showsFields={false} />
          )}
          <Button type="submit" loading={isPending} fullWidth>
            Create the account
          </Button>
          <Anchor component={Link} to="/sign-in" size="sm">
            Sign in to an account that exists
          </Anchor>
        </Stack>
      </form>
    </>
  );
}
