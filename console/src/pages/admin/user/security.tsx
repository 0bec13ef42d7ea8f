import { Button, Card, Group, PasswordInput, SimpleGrid, Skeleton, Stack, Table, Text, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { modals } from '@mantine/modals';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { User } from '../../../api/session';
import { confirmDelete } from '../../../components/confirm-delete';
import { Num } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { randomPassword } from '../users/random-password';
import { ResetLink } from '../users/reset-link';
import { UserSessions } from './sessions';
import classes from './security.module.css';
import { nameOf } from '../users/user-name';

/** Sign-in of a user: second factor, sessions, signing keys, and ways back in. */
export function UserSecurity({ user }: { user: User }) {
  const path = { user: user.id };
  const security = useQuery({
    queryKey: ['security', user.id],
    queryFn: ({ signal }) => answer(api.GET('/v1/users/{user}/security', { params: { path }, signal })),
  });
  const totp = useMutationWithNotice({
    mutationFn: () => api.DELETE('/v1/users/{user}/totp', { params: { path } }),
    success: 'Two-factor sign-in disabled',
    invalidates: [['security', user.id], ['audit']],
  });
  const { data } = security;
  const rows: [string, ReactNode][] | undefined = data && [
    ['E-mail address confirmed', <Time key="mail" at={data.emailConfirmedAt} none="no" />],
    ['Two-factor sign-in', <Time key="totp" at={data.totpEnabledAt} none="off" />],
    ['Unused recovery codes', <Num key="codes" value={data.recoveryCodesLeft} />],
    ['Active sessions', <Num key="sessions" value={data.sessions} />],
    ['Signing keys', <Num key="keys" value={data.signingKeys} />],
    ['Last sign-in', <Time key="login" at={user.lastLoginAt} />],
  ];
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
      <Card>
        <Title order={2} size="h4" mb="sm">
          Sign-in
        </Title>
        <ProblemAlert error={security.error} onRetry={() => security.refetch()} />
        {security.isPending && <Skeleton height={240} />}
        {rows !== undefined && (
          <Table variant="vertical" aria-label="Sign-in">
            <Table.Tbody>
              {rows.map(([label, value]) => (
                <Table.Tr key={label}>
                  <Table.Th scope="row" w="55%">
                    {label}
                  </Table.Th>
                  <Table.Td>{value}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </Card>
      <Card>
        <Title order={2} size="h4" mb="sm">
          Help the user sign in
        </Title>
        <Stack gap="lg">
          <div>
            <Text size="sm" mb={6}>
              A link lets the user choose a new password.
            </Text>
            <Button
              variant="default"
              onClick={() =>
                modals.open({
                  title: `Reset the password of ${nameOf(user)}`,
                  children: <ResetLink user={user.id} />,
                })
              }
            >
              Create a password reset link
            </Button>
          </div>
          {typeof data?.totpEnabledAt === 'string' && (
            <div>
              <Text size="sm" mb={6}>
                For a user who has lost the authenticator and the recovery codes.
              </Text>
              <Button
                variant="default"
                onClick={() =>
                  confirmDelete({
                    what: `two-factor sign-in of ${nameOf(user)}`,
                    verb: 'Disable',
                    note: 'From then on the password alone signs in. First make sure that it is the user who asks.',
                    onConfirm: () => totp.mutateAsync(),
                  })
                }
              >
                Disable two-factor sign-in
              </Button>
            </div>
          )}
          <NewPassword user={user.id} />
        </Stack>
      </Card>
      <div className={classes.wide}>
        <Title order={2} size="h4" mb="sm">
          Sessions
        </Title>
        <UserSessions user={user.id} />
      </div>
    </SimpleGrid>
  );
}

function NewPassword({ user }: { user: string }) {
  const form = useForm({ initialValues: { password: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: ({ password }: typeof form.values) =>
      answer(api.PATCH('/v1/users/{user}', { params: { path: { user } }, body: { password } })),
    success: 'Password set; all sessions of the user have ended',
    invalidates: [['users'], ['security', user], ['audit']],
    form,
    onSuccess: () => form.reset(),
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Text size="sm" mb={6}>
        Or set a password yourself. It ends all sessions.
      </Text>
      <Stack gap="xs">
        <PasswordInput
          label="New password"
          autoComplete="new-password"
          required
          withAsterisk={false}
          {...form.getInputProps('password')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <Group gap="xs">
          <Button variant="default" onClick={() => form.setFieldValue('password', randomPassword())}>
            Generate
          </Button>
          <Button type="submit" loading={isPending} disabled={form.getValues().password === ''}>
            Set the password
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
