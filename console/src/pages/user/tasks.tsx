import {
  ActionIcon,
  Button,
  Card,
  Checkbox,
  Group,
  SegmentedControl,
  Stack,
  Text,
  TextInput,
  Tooltip,
} from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconChecklist, IconPencil, IconTrash } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { modals } from '@mantine/modals';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { usePages } from '../../api/use-pages';
import { confirmDelete } from '../../components/confirm-delete';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { formatNumber } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { FormActions } from '../../components/form-actions';

type Task = components['schemas']['TaskResponse'];

const STALE = [['tasks'], ['metrics'], ['quotas']];

const FILTERS = [
  { value: 'all', label: 'All' },
  { value: 'false', label: 'Open' },
  { value: 'true', label: 'Completed' },
];

function nameOf({ title }: Task): string {
  return title ?? 'untitled task';
}

/** The user's tasks. Each holds a credit until it is deleted. */
export default function Tasks() {
  const [filter, setFilter] = useState('all');
  const queries = useQueryClient();
  const completed = filter === 'all' ? undefined : filter === 'true';
  const pages = usePages(['tasks', 'me', filter], ({ cursor, signal }) =>
    answer(api.GET('/v1/tasks', { params: { query: { cursor, completed } }, signal })),
  );
  const complete = useMutationWithNotice({
    mutationFn: ({ id, completed: before }: Task) =>
      answer(api.PATCH('/v1/tasks/{id}', { params: { path: { id } }, body: { completed: !before } })),
    invalidates: STALE,
  });
  const remove = (task: Task): void =>
    confirmDelete({
      what: `the task “${nameOf(task)}”`,
      onConfirm: async () => {
        await answer(api.DELETE('/v1/tasks/{id}', { params: { path: { id: task.id } } }));
        await Promise.all(STALE.map((queryKey) => queries.invalidateQueries({ queryKey })));
      },
    });
  const columns: Column<Task>[] = [
    {
      header: 'Completed',
      hidesHeader: true,
      width: 40,
      render: (task) => (
        <Checkbox
          aria-label={`Completed: ${nameOf(task)}`}
          checked={task.completed}
          disabled={complete.isPending && complete.variables.id === task.id}
          onChange={() => complete.mutate(task)}
        />
      ),
    },
    {
      header: 'Title',
      render: (task) => (
        <Text
          size="sm"
          td={task.completed ? 'line-through' : undefined}
          c={task.completed || task.title === null ? 'dimmed' : undefined}
          style={{ overflowWrap: 'anywhere' }}
        >
          {task.title ?? 'untitled'}
        </Text>
      ),
    },
    { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, onPhone: false },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      render: (task) => (
        <Group gap={4} justify="flex-end" wrap="nowrap">
          <Tooltip label="Rename">
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Rename ${nameOf(task)}`}
              onClick={() => rename(task)}
            >
              <IconPencil size={16} stroke={1.6} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label="Delete">
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Delete ${nameOf(task)}`}
              onClick={() => remove(task)}
            >
              <IconTrash size={16} stroke={1.6} />
            </ActionIcon>
          </Tooltip>
        </Group>
      ),
    },
  ];
  return (
    <>
      <PageHeader title="Tasks" description={<Credits />} />
      <CreateTask />
      <SegmentedControl aria-label="Which tasks" size="xs" mb="sm" data={FILTERS} value={filter} onChange={setFilter} />
      <DataTable
        label="Tasks"
        columns={columns}
        pages={pages}
        rowKey={({ id }) => id}
        empty={
          <EmptyState icon={IconChecklist} title={filter === 'all' ? 'No task yet' : 'No such task'}>
            {filter === 'all' ? 'Add one above. Each task takes one credit.' : 'Choose another filter.'}
          </EmptyState>
        }
      />
    </>
  );
}

/** How many credits are left. */
function Credits() {
  const { data } = useQuery({
    queryKey: ['metrics', 'me'],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics/users/{user}', { params: { path: { user: 'me' } }, signal })),
  });
  const left =
    data === undefined
      ? ''
      : data.remainingCredits === null
        ? 'You have no limit on credits.'
        : `You have ${formatNumber(data.remainingCredits)} of ${formatNumber(data.credits ?? 0)} credits left.`;
  return <span role="status">Each task takes a credit, which its deletion gives back. {left}</span>;
}

function CreateTask() {
  const form = useForm({ mode: 'uncontrolled', initialValues: { title: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: ({ title }: typeof form.values, { idempotencyKey }) =>
      answer(
        api.POST('/v1/tasks', {
          body: title.trim() === '' ? {} : { title },
          params: { header: { 'Idempotency-Key': idempotencyKey } },
        }),
      ),
    form,
    invalidates: STALE,
    onSuccess: () => form.reset(),
  });
  return (
    <Card mb="lg" padding="md">
      <form onSubmit={form.onSubmit((values) => mutate(values))}>
        <Stack gap="sm">
          <Group align="flex-end" gap="sm">
            <TextInput
              label="New task"
              placeholder="What is to be done"
              maxLength={256}
              flex={1}
              miw={200}
              key={form.key('title')}
              {...form.getInputProps('title')}
            />
            <Button type="submit" loading={isPending}>
              Add
            </Button>
          </Group>
          <ProblemAlert error={error} showsFields={false} />
        </Stack>
      </form>
    </Card>
  );
}

function rename(task: Task): void {
  const id = modals.open({
    title: 'Rename the task',
    children: <RenameForm task={task} onClose={() => modals.close(id)} />,
  });
}

function RenameForm({ task, onClose }: { task: Task; onClose: () => void }) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { title: task.title ?? '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: ({ title }: typeof form.values) =>
      answer(
        api.PATCH('/v1/tasks/{id}', {
          params: { path: { id: task.id } },
          body: { title: title.trim() === '' ? null : title },
        }),
      ),
    success: 'The task is renamed',
    form,
    invalidates: STALE,
    onSuccess: onClose,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <TextInput
          label="Title"
          maxLength={256}
          data-autofocus
          key={form.key('title')}
          {...form.getInputProps('title')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Save
        </FormActions>
      </Stack>
    </form>
  );
}
