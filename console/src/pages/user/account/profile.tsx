import { Badge, Button, Group, SimpleGrid, Skeleton, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { updateUser, type User } from '../../../api/session';
import { useUser } from '../../../api/use-user';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { Section } from './section';
import { SECURITY, useSecurity } from './use-security';

const FIELDS = ['username', 'email', 'firstName', 'lastName'] as const;

type Values = Record<(typeof FIELDS)[number], string>;

function valuesOf(user: User): Values {
  return {
    username: user.username ?? '',
    email: user.email ?? '',
    firstName: user.firstName ?? '',
    lastName: user.lastName ?? '',
  };
}

/** Names, username and e-mail address. */
export function Profile() {
  const user = useUser();
  const form = useForm({ initialValues: valuesOf(user) });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (values: Values) => {
      const before = valuesOf(user);
      const changed = FIELDS.filter((name) => values[name].trim() !== before[name]);
      const body = Object.fromEntries(changed.map((name) => [name, values[name].trim() || null]));
      return answer(api.PATCH('/v1/users/{user}', { params: { path: { user: 'me' } }, body }));
    },
    success: 'Your profile is saved',
    form,
    invalidates: [['users']],
    onSuccess: (saved) => {
      updateUser(saved);
      form.setInitialValues(valuesOf(saved));
      form.reset();
    },
  });
  return (
    <Section title="Profile" description="You sign in with the username or the e-mail address.">
      <form onSubmit={form.onSubmit((values) => mutate(values))}>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <TextInput
            label="Username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            maxLength={64}
            {...form.getInputProps('username')}
          />
          <TextInput
            label="E-mail address"
            type="email"
            autoComplete="email"
            maxLength={254}
            {...form.getInputProps('email')}
          />
          <TextInput label="First name" autoComplete="given-name" maxLength={32} {...form.getInputProps('firstName')} />
          <TextInput label="Last name" autoComplete="family-name" maxLength={32} {...form.getInputProps('lastName')} />
        </SimpleGrid>
        <Confirmation email={user.email} />
        <ProblemAlert error={error} showsFields={false} />
        <Group justify="flex-end" mt="md">
          <Button type="submit" loading={isPending} disabled={!form.isDirty()}>
            Save
          </Button>
        </Group>
      </form>
    </Section>
  );
}

/** Whether the stored e-mail address is confirmed, and a button that sends the link again. */
function Confirmation({ email }: { email: string | null }) {
  const { data, isPending } = useSecurity();
  const send = useMutationWithNotice({
    mutationFn: () => answer(api.POST('/v1/auth/email-confirmation')),
    success: 'The link is on its way. Look into your mailbox.',
    invalidates: [SECURITY],
  });
  if (email === null) return null;
  if (isPending) return <Skeleton height={30} mt="md" w={300} />;
  const isConfirmed = typeof data?.emailConfirmedAt === 'string';
  return (
    <Group mt="md" gap="sm" mih={30}>
      <Badge color={isConfirmed ? 'green' : 'orange'}>{isConfirmed ? 'Confirmed' : 'Not confirmed'}</Badge>
      <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
        {email}
      </Text>
      {!isConfirmed && (
        <Button size="xs" variant="default" loading={send.isPending} onClick={() => send.mutate()}>
          Send the confirmation link
        </Button>
      )}
    </Group>
  );
}
