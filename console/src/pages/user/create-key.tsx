import { Modal, Stack } from '@mantine/core';
import { useForm } from '@mantine/form';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { ProblemAlert } from '../../components/problem-alert';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import type { Issued } from './issued-key';
import { keyBody, KeyFields, keyValues, type KeyValues } from './key-fields';
import { LimitList, type LimitRows } from './limit-rows';
import { FormActions } from '../../components/form-actions';

interface CreateKeyProps {
  opened: boolean;
  onClose: () => void;
  onIssued: (issued: Issued) => void;
}

/** A dialog that makes a key. */
export function CreateKey({ opened, onClose, onIssued }: CreateKeyProps) {
  const form = useForm<KeyValues & LimitRows>({ initialValues: { ...keyValues(), limits: [] } });
  const { mutate, isPending, error, reset } = useMutationWithNotice({
    mutationFn: (values: typeof form.values, { idempotencyKey }) =>
      answer(
        api.POST('/v1/keys', {
          body: { ...keyBody(values), limits: values.limits.map((row) => ({ ...row, limit: Number(row.limit) })) },
          params: { header: { 'Idempotency-Key': idempotencyKey } },
        }),
      ),
    form,
    invalidates: [['keys']],
    onSuccess: (issued) => {
      form.reset();
      onIssued(issued);
    },
  });
  const close = (): void => {
    reset();
    onClose();
  };
  return (
    <Modal opened={opened} onClose={close} title="Create an API key" size="lg">
      <form onSubmit={form.onSubmit((values) => mutate(values))}>
        <Stack>
          <KeyFields form={form} />
          <LimitList form={form} />
          <ProblemAlert error={error} showsFields={false} />
          <FormActions onCancel={close} isPending={isPending}>
            Create
          </FormActions>
        </Stack>
      </form>
    </Modal>
  );
}
