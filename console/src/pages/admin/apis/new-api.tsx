import { Modal, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useNavigate } from '@tanstack/react-router';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { ResponseFields, responseOf, type ApiResponseValues } from './response-fields';
import { FormActions } from '../../../components/form-actions';

interface NewApiProps {
  opened: boolean;
  onClose: () => void;
}

/** Adds an API to the catalogue in a dialog, and leads to it. */
export function NewApi({ opened, onClose }: NewApiProps) {
  return (
    <Modal opened={opened} onClose={onClose} title="New API" size="lg">
      <NewApiForm onClose={onClose} />
    </Modal>
  );
}

function NewApiForm({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const form = useForm<ApiResponseValues & { name: string; slug: string }>({
    initialValues: { name: '', slug: '', kind: 'answer', answer: '', upstream: '' },
  });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (values: typeof form.values, { idempotencyKey }) => {
      const { name, slug } = values;
      const header = { 'Idempotency-Key': idempotencyKey };
      return answer(api.POST('/v1/apis', { body: { name, slug, ...responseOf(values) }, params: { header } }));
    },
    success: ({ name }) => `API ${name} added`,
    invalidates: [['apis']],
    form,
    onSuccess: ({ slug }) => navigate({ to: '/apis/$slug', params: { slug } }),
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <TextInput label="Name" required withAsterisk={false} data-autofocus {...form.getInputProps('name')} />
        <TextInput
          label="Slug"
          description="Lower-case letters, digits, and hyphens between them. It cannot be changed, because meters contain it."
          required
          withAsterisk={false}
          autoCapitalize="none"
          spellCheck={false}
          {...form.getInputProps('slug')}
        />
        <ResponseFields values={form.getValues()} onChange={(part) => form.setValues(part)} errors={form.errors} />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Add the API
        </FormActions>
      </Stack>
    </form>
  );
}
