import { Button, Group, List, Modal, PasswordInput, Stack, Text } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { signOut } from '../../../api/session';
import { useUser } from '../../../api/use-user';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { Section } from './section';
import { useSecurity } from './use-security';

const LOST = [
  'Your API keys and signing keys: programs that use them are refused at once',
  'Your resources and tasks',
  'Your store with all its entries',
  'Your sessions',
];

/** Deletes the account, where the platform allows it. */
export function DeleteAccount() {
  const { role } = useUser();
  const { data } = useSecurity();
  const [isOpen, { open, close }] = useDisclosure();
  if (data === undefined) return null;
  if (!data.selfDeletion && role !== 'admin') {
    return (
      <Section
        title="Delete the account"
        description="On this platform only administrators delete accounts. Ask one of them."
      />
    );
  }
  return (
    <Section
      title="Delete the account"
      description="Deletes the account and all it owns. This cannot be undone."
      actions={
        <Button color="red" variant="light" onClick={open}>
          Delete my account
        </Button>
      }
    >
      <Modal opened={isOpen} onClose={close} title="Delete your account?">
        <ConfirmForm onClose={close} />
      </Modal>
    </Section>
  );
}

function ConfirmForm({ onClose }: { onClose: () => void }) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { password: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values) =>
      answer(api.DELETE('/v1/users/{user}', { params: { path: { user: 'me' } }, body })),
    form,
    onSuccess: signOut,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <div>
          <Text size="sm">These are lost with it:</Text>
          <List size="sm">
            {LOST.map((line) => (
              <List.Item key={line}>{line}</List.Item>
            ))}
          </List>
        </div>
        <Text size="sm">The usage that was recorded stays. This cannot be undone.</Text>
        <PasswordInput
          label="Password"
          autoComplete="current-password"
          required
          withAsterisk={false}
          data-autofocus
          key={form.key('password')}
          {...form.getInputProps('password')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" color="red" loading={isPending}>
            Delete my account
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
