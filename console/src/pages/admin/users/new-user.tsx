import { Button, Group, Modal, PasswordInput, Select, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { User } from '../../../api/session';
import { AmountInput } from '../../../components/limit-fields';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { PlanSelect } from './plan-select';
import { randomPassword } from './random-password';
import { nameOf } from './user-name';
import { FormActions } from '../../../components/form-actions';

interface NewUserProps {
  opened: boolean;
  onClose: () => void;
}

/** Creates an account in a dialog, and leads to it. */
export function NewUser({ opened, onClose }: NewUserProps) {
  return (
    <Modal opened={opened} onClose={onClose} title="New user" size="lg">
      <NewUserForm onClose={onClose} />
    </Modal>
  );
}

function NewUserForm({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [isVisible, setVisible] = useState(false);
  const form = useForm({
    initialValues: {
      ...{ username: '', email: '', firstName: '', lastName: '', password: '' },
      role: 'user' as User['role'],
      plan: null as string | null,
      // The plan's limit applies to tasks if nothing is set.
      credits: null as number | null,
    },
  });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (values: typeof form.values, { idempotencyKey }) => {
      const { password, role, plan, credits, ...texts } = values;
      // An empty field is a missing one.
      const given = Object.fromEntries(Object.entries(texts).filter(([, text]) => text.trim() !== ''));
      const body = {
        ...given,
        password,
        role,
        ...(plan === null ? {} : { plan }),
        ...(credits === null ? {} : { credits }),
      };
      return answer(api.POST('/v1/users', { body, params: { header: { 'Idempotency-Key': idempotencyKey } } }));
    },
    success: (user) => `${nameOf(user)} created`,
    invalidates: [['users'], ['metrics']],
    form,
    onSuccess: (user) => navigate({ to: '/users/$user', params: { user: user.id } }),
  });

  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <TextInput
            label="Username"
            description="A username, an e-mail address, or both."
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            data-autofocus
            {...form.getInputProps('username')}
          />
          <TextInput
            label="E-mail address"
            description="For mail that resets the password."
            type="email"
            autoComplete="off"
            {...form.getInputProps('email')}
          />
          <TextInput label="First name" autoComplete="off" {...form.getInputProps('firstName')} />
          <TextInput label="Last name" autoComplete="off" {...form.getInputProps('lastName')} />
        </SimpleGrid>
        <Group align="flex-end" gap="xs" wrap="nowrap">
          <PasswordInput
            label="Password"
            required
            withAsterisk={false}
            autoComplete="new-password"
            visible={isVisible}
            onVisibilityChange={setVisible}
            style={{ flex: 1 }}
            {...form.getInputProps('password')}
          />
          <Button
            variant="default"
            onClick={() => {
              form.setFieldValue('password', randomPassword());
              setVisible(true);
            }}
          >
            Generate
          </Button>
        </Group>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Select
            label="Role"
            data={[
              { value: 'user', label: 'User' },
              { value: 'admin', label: 'Administrator' },
            ]}
            allowDeselect={false}
            {...form.getInputProps('role')}
          />
          <PlanSelect
            description="None: the default plan of the platform."
            inputWrapperOrder={['label', 'input', 'description', 'error']}
            {...form.getInputProps('plan')}
          />
        </SimpleGrid>
        <AmountInput
          meter="tasks"
          label="Credits"
          description="Tasks that the user may have at once."
          value={form.values.credits}
          onChange={(credits) => form.setFieldValue('credits', credits)}
          noneLabel="As the plan says"
          error={form.errors.credits as string | undefined}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Create the user
        </FormActions>
      </Stack>
    </form>
  );
}
