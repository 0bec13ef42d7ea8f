import { ActionIcon, Button, Code, Modal, Stack, Textarea, Tooltip } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconBox, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { usePages } from '../../api/use-pages';
import { confirmDelete } from '../../components/confirm-delete';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { QuotaBars } from './quota-bars';
import { FormActions } from '../../components/form-actions';

type Resource = components['schemas']['ResourceResponse'];

/** Characters of a value that name it in a sentence. */
const NAME_LENGTH = 60;

function nameOf({ value }: Resource): string {
  return value.length > NAME_LENGTH ? `${value.slice(0, NAME_LENGTH)}…` : value;
}

/** The user's resources. They cannot be changed, only made and deleted. */
export default function Resources() {
  const [isOpen, { open, close }] = useDisclosure();
  const queries = useQueryClient();
  const pages = usePages(['resources', 'me'], ({ cursor, signal }) =>
    answer(api.GET('/v1/resources', { params: { query: { cursor } }, signal })),
  );
  const remove = (resource: Resource): void =>
    confirmDelete({
      what: `the resource “${nameOf(resource)}”`,
      onConfirm: async () => {
        await answer(api.DELETE('/v1/resources/{id}', { params: { path: { id: resource.id } } }));
        await Promise.all(
          [['resources'], ['quotas'], ['metrics']].map((queryKey) => queries.invalidateQueries({ queryKey })),
        );
      },
    });
  const columns: Column<Resource>[] = [
    { header: 'Value', render: ({ value }) => <span style={{ overflowWrap: 'anywhere' }}>{value}</span> },
    { header: 'Id', render: ({ id }) => <Code>{id}</Code>, onPhone: false },
    { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      render: (resource) => (
        <Tooltip label="Delete">
          <ActionIcon
            variant="subtle"
            color="gray"
            aria-label={`Delete ${nameOf(resource)}`}
            onClick={() => remove(resource)}
          >
            <IconTrash size={16} stroke={1.6} />
          </ActionIcon>
        </Tooltip>
      ),
    },
  ];
  return (
    <>
      <PageHeader
        title="Resources"
        description="Texts that you own. Each counts against your limit until you delete it."
        actions={
          <Button leftSection={<IconPlus size={16} />} onClick={open}>
            Create a resource
          </Button>
        }
      />
      <QuotaBars meter="resources" />
      <DataTable
        label="Resources"
        columns={columns}
        pages={pages}
        rowKey={({ id }) => id}
        empty={
          <EmptyState icon={IconBox} title="No resource yet">
            Create one here, or with <Code>POST /v1/resources</Code>.
          </EmptyState>
        }
      />
      <Modal opened={isOpen} onClose={close} title="Create a resource">
        <CreateForm onClose={close} />
      </Modal>
    </>
  );
}

function CreateForm({ onClose }: { onClose: () => void }) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { value: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values, { idempotencyKey }) =>
      answer(api.POST('/v1/resources', { body, params: { header: { 'Idempotency-Key': idempotencyKey } } })),
    success: 'The resource is created',
    form,
    invalidates: [['resources'], ['quotas'], ['metrics']],
    onSuccess: onClose,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <Textarea
          label="Value"
          description="Up to 4,096 characters. It cannot be changed later."
          autosize
          minRows={3}
          maxRows={12}
          maxLength={4096}
          required
          withAsterisk={false}
          data-autofocus
          key={form.key('value')}
          {...form.getInputProps('value')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Create
        </FormActions>
      </Stack>
    </form>
  );
}
