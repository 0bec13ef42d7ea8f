import { Anchor, Group } from '@mantine/core';
import { Link, useRouter, useSearch } from '@tanstack/react-router';
import { PageHeader } from '../../components/page-header';
import { SignInForm } from './sign-in-form';
import { CONSOLE_PATH } from '../../base-path';

/** Signs in and goes on to the page that was asked for. */
export default function SignIn() {
  const { next } = useSearch({ from: '/public/sign-in' });
  const router = useRouter();
  return (
    <>
      <PageHeader title="Sign in" />
      <SignInForm onSignedIn={() => router.history.replace(next ?? `${CONSOLE_PATH}/`)} />
      <Group justify="space-between" mt="lg" gap="xs">
        <Anchor component={Link} to="/forgot-password" size="sm">
          Forgot your password?
        </Anchor>
        <Anchor component={Link} to="/register" size="sm">
          Create an account
        </Anchor>
      </Group>
    </>
  );
}
