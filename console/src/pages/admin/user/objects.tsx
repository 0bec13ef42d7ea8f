import { SegmentedControl, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { Num } from '../../../components/num';
import { Time } from '../../../components/time';
import { DeleteObject } from './delete-object';

type Schemas = components['schemas'];
type Kind = 'resources' | 'tasks' | 'store';

/** What a user owns: resources, tasks and store entries. */
export function UserObjects({ user }: { user: string }) {
  const [kind, setKind] = useState<Kind>('resources');
  return (
    <Stack align="stretch">
      <SegmentedControl
        aria-label="Kind of objects"
        data={[
          { value: 'resources', label: 'Resources' },
          { value: 'tasks', label: 'Tasks' },
          { value: 'store', label: 'Store' },
        ]}
        value={kind}
        onChange={(next) => setKind(next)}
        style={{ alignSelf: 'flex-start' }}
      />
      <div>
        {kind === 'resources' && <Resources user={user} />}
        {kind === 'tasks' && <Tasks user={user} />}
        {kind === 'store' && <Entries user={user} />}
      </div>
    </Stack>
  );
}

function Resources({ user }: { user: string }) {
  const pages = usePages(['resources', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/resources', { params: { query: { owner: user, cursor } }, signal })),
  );
  const columns: Column<Schemas['ResourceResponse']>[] = [
    {
      header: 'Value',
      render: ({ value }) => (
        <Text size="sm" lineClamp={2} style={{ overflowWrap: 'anywhere' }}>
          {value}
        </Text>
      ),
    },
    { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, width: 160 },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      width: 56,
      render: ({ id, value }) => (
        <DeleteObject
          what={`the resource "${shorten(value)}"`}
          stale={['resources', user]}
          user={user}
          send={() => api.DELETE('/v1/resources/{id}', { params: { path: { id } } })}
        />
      ),
    },
  ];
  return (
    <DataTable
      label="Resources"
      columns={columns}
      pages={pages}
      rowKey={({ id }) => id}
      empty={<EmptyState title="No resources">The user creates them through the API or the console.</EmptyState>}
    />
  );
}

function Tasks({ user }: { user: string }) {
  const pages = usePages(['tasks', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/tasks', { params: { query: { owner: user, cursor } }, signal })),
  );
  const columns: Column<Schemas['TaskResponse']>[] = [
    { header: 'Title', render: ({ title }) => title ?? '–' },
    { header: 'State', render: ({ completed }) => (completed ? 'completed' : 'open'), width: 120 },
    { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, width: 160, onPhone: false },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      width: 56,
      render: ({ id, title }) => (
        <DeleteObject
          what={title === null ? 'the task' : `the task "${shorten(title)}"`}
          stale={['tasks', user]}
          user={user}
          send={() => api.DELETE('/v1/tasks/{id}', { params: { path: { id } } })}
        />
      ),
    },
  ];
  return (
    <DataTable
      label="Tasks"
      columns={columns}
      pages={pages}
      rowKey={({ id }) => id}
      empty={<EmptyState title="No tasks">Each task would hold one credit.</EmptyState>}
    />
  );
}

function Entries({ user }: { user: string }) {
  const pages = usePages(['store', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/store', { params: { query: { owner: user, cursor } }, signal })),
  );
  const columns: Column<Schemas['StoreItem']>[] = [
    { header: 'Key', render: ({ key }) => <span style={{ overflowWrap: 'anywhere' }}>{key}</span> },
    { header: 'Version', render: ({ version }) => <Num value={version} />, align: 'right', width: 110 },
    { header: 'Expires', render: ({ expiresAt }) => <Time at={expiresAt} as="relative" />, width: 160 },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      width: 56,
      render: ({ key }) => (
        <DeleteObject
          what={`the entry "${shorten(key)}"`}
          stale={['store', user]}
          user={user}
          send={() => api.DELETE('/v1/store/{key}', { params: { path: { key }, query: { owner: user } } })}
        />
      ),
    },
  ];
  return (
    <DataTable
      label="Store entries"
      columns={columns}
      pages={pages}
      rowKey={({ key }) => key}
      empty={<EmptyState title="The store is empty" />}
    />
  );
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
