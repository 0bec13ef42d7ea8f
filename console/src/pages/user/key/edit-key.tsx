import { Modal, Stack } from '@mantine/core';
import { useForm } from '@mantine/form';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { FormActions } from '../../../components/form-actions';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { keyBody, KeyFields, keyValues } from '../key-fields';
import type { Key } from '../key-status';

interface EditKeyProps {
  current: Key;
  opened: boolean;
  onClose: () => void;
}

/** Changes the name, the scopes and the expiry of a key. */
export function EditKey({ current, opened, onClose }: EditKeyProps) {
  return (
    <Modal opened={opened} onClose={onClose} title={`Edit the key “${current.name}”`}>
      <EditForm current={current} onClose={onClose} />
    </Modal>
  );
}

function EditForm({ current, onClose }: { current: Key; onClose: () => void }) {
  const form = useForm({ initialValues: keyValues(current) });
  const { mutate, isPending, error } = useMutationWithNotice({
    // Without If-Match: each call with the key changes its ETag. Only the changed fields are sent instead.
    mutationFn: (values: typeof form.values) =>
      answer(
        api.PATCH('/v1/keys/{id}', { params: { path: { id: current.id } }, body: changed(keyBody(values), current) }),
      ),
    success: 'The key is saved',
    form,
    invalidates: [['keys']],
    onSuccess: onClose,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <KeyFields form={form} />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Save
        </FormActions>
      </Stack>
    </form>
  );
}

/** Returns the fields of `body` that differ from the key. */
function changed(body: ReturnType<typeof keyBody>, current: Key): Partial<ReturnType<typeof keyBody>> {
  const before = keyBody(keyValues(current));
  return Object.fromEntries(
    Object.entries(body).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name as keyof typeof before]),
    ),
  );
}
