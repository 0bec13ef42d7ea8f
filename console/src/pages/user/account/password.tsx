import { Button, PasswordInput, SimpleGrid, Stack } from '@mantine/core';
import { useForm } from '@mantine/form';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { useUser } from '../../../api/use-user';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { Section } from './section';
import { SECURITY } from './use-security';

/** Changes the password. */
export function Password() {
  const user = useUser();
  const form = useForm({ mode: 'uncontrolled', initialValues: { currentPassword: '', newPassword: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values) => answer(api.POST('/v1/auth/password', { body })),
    success: 'Your password is changed. All other sessions have ended.',
    form,
    invalidates: [['sessions'], SECURITY],
    onSuccess: () => form.reset(),
  });
  return (
    <Section title="Password" description="A new password ends your other sessions. Signing keys and API keys stay.">
      <form onSubmit={form.onSubmit((values) => mutate(values))}>
        {/* For password managers. */}
        <input
          type="text"
          autoComplete="username"
          value={user.username ?? user.email ?? ''}
          readOnly
          hidden
          aria-hidden
        />
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <PasswordInput
            label="Current password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            key={form.key('currentPassword')}
            {...form.getInputProps('currentPassword')}
          />
          <PasswordInput
            label="New password"
            autoComplete="new-password"
            required
            withAsterisk={false}
            key={form.key('newPassword')}
            {...form.getInputProps('newPassword')}
          />
        </SimpleGrid>
        <Stack mt="md">
          <ProblemAlert error={error} showsFields={false} />
          <Button type="submit" loading={isPending} style={{ alignSelf: 'flex-end' }}>
            Change the password
          </Button>
        </Stack>
      </form>
    </Section>
  );
}
