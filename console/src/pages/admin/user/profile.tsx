import { Button, Group, Select, SimpleGrid, Stack, TextInput } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import { tagged, type Tagged } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { updateUser, type User } from '../../../api/session';
import { CopyField } from '../../../components/copy-field';
import { Conflicts } from '../../../components/conflicts';
import { ProblemAlert } from '../../../components/problem-alert';
import { useEdit } from '../../../components/use-edit';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { PlanSelect } from '../users/plan-select';

type Changes = components['schemas']['UpdateUserDto'];

interface UserProfileProps {
  query: UseQueryResult<Tagged<User>>;
  loaded: Tagged<User>;
}

const toValues = ({ username, email, firstName, lastName, role, plan }: User) => ({
  username: username ?? '',
  email: email ?? '',
  firstName: firstName ?? '',
  lastName: lastName ?? '',
  ...{ role, plan },
});

/** The fields of an account and its plan. Its credits are the quota on tasks. */
export function UserProfile({ query, loaded }: UserProfileProps) {
  const edit = useEdit({ query, loaded, toValues });
  const { form } = edit;
  const { id } = loaded.value;
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: () => {
      // An empty text clears the field.
      const body = Object.fromEntries(
        Object.entries(edit.changes()).map(([field, value]) => [field, value === '' ? null : value]),
      ) as Changes;
      return edit.save((etag) =>
        tagged(
          api.PATCH('/v1/users/{user}', {
            params: { path: { user: id }, header: etag === undefined ? {} : { 'If-Match': etag } },
            body,
          }),
        ),
      );
    },
    success: 'Saved',
    invalidates: [['users'], ['quotas', id], ['metrics'], ['audit']],
    form,
    onSuccess: updateUser,
  });
  return (
    <form onSubmit={form.onSubmit(() => mutate())}>
      <Stack>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <TextInput
            label="Username"
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            {...form.getInputProps('username')}
          />
          <TextInput label="E-mail address" type="email" autoComplete="off" {...form.getInputProps('email')} />
          <TextInput label="First name" autoComplete="off" {...form.getInputProps('firstName')} />
          <TextInput label="Last name" autoComplete="off" {...form.getInputProps('lastName')} />
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
            description="The user’s own quotas override those of the plan."
            inputWrapperOrder={['label', 'input', 'description', 'error']}
            {...form.getInputProps('plan')}
          />
        </SimpleGrid>
        <CopyField label="Id" value={id} />
        <Conflicts edit={edit} />
        {edit.conflicts.length === 0 && <ProblemAlert error={error} showsFields={false} />}
        <Group justify="flex-end">
          <Button type="submit" loading={isPending} disabled={!edit.hasChanges}>
            Save
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
