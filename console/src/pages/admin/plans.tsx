import { Badge, Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconPlus, IconStack2 } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { limitName } from '../../components/limit-bar';
import { formatBytes, formatNumber } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { FormActions } from '../../components/form-actions';

type Plan = components['schemas']['PlanResponse'];

const COLUMNS: Column<Plan>[] = [
  { header: 'Plan', render: ({ name }) => name, width: 200 },
  { header: 'Slug', render: ({ slug }) => slug, onPhone: false, width: 160 },
  {
    header: 'Limits',
    render: ({ limits }) => (
      <Group gap={4}>
        {limits.length === 0 && 'none'}
        {limits.map((limit) => (
          <Badge key={limitName(limit)} color="gray">
            {limitName(limit)}: {amountOf(limit)}
          </Badge>
        ))}
      </Group>
    ),
  },
  { header: 'Changed', render: ({ updatedAt }) => <Time at={updatedAt} as="relative" />, onPhone: false, width: 150 },
];

function amountOf({ meter, limit }: Plan['limits'][number]): string {
  if (limit === null) return 'unlimited';
  return meter === 'store.bytes' ? formatBytes(limit) : formatNumber(limit);
}

/** Limits that users share. */
export default function Plans() {
  const { create } = useSearch({ from: '/shell/plans' });
  const navigate = useNavigate({ from: '/plans' });
  const setCreate = (isOpen: boolean): void =>
    void navigate({ search: isOpen ? { create: 'yes' } : {}, replace: true });
  const pages = usePages(['plans', 'list'], ({ cursor, signal }) =>
    answer(api.GET('/v1/plans', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader
        title="Plans"
        description="Limits that users share. A quota of a user overrides the limit of its plan."
        actions={
          <Button leftSection={<IconPlus size={16} />} onClick={() => setCreate(true)}>
            New plan
          </Button>
        }
      />
      <DataTable
        label="Plans"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ slug }) => slug}
        rowLink={({ slug }) => ({ to: '/plans/$slug', params: { slug } })}
        empty={
          <EmptyState title="No plans" icon={IconStack2}>
            Create one, set its limits, and assign it to users or to all new ones.
          </EmptyState>
        }
      />
      <Modal opened={create !== undefined} onClose={() => setCreate(false)} title="New plan">
        <NewPlanForm onClose={() => setCreate(false)} />
      </Modal>
    </>
  );
}

function NewPlanForm({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const form = useForm({ initialValues: { name: '', slug: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values, { idempotencyKey }) =>
      answer(api.POST('/v1/plans', { body, params: { header: { 'Idempotency-Key': idempotencyKey } } })),
    success: ({ name }) => `Plan ${name} created`,
    invalidates: [['plans']],
    form,
    onSuccess: ({ slug }) => navigate({ to: '/plans/$slug', params: { slug } }),
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <TextInput label="Name" required withAsterisk={false} data-autofocus {...form.getInputProps('name')} />
        <TextInput
          label="Slug"
          description="Lower-case letters, digits, and hyphens between them."
          required
          withAsterisk={false}
          autoCapitalize="none"
          spellCheck={false}
          {...form.getInputProps('slug')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Create the plan
        </FormActions>
      </Stack>
    </form>
  );
}
