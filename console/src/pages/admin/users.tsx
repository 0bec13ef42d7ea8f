import { Badge, Button, Group, Select, Text, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconFileImport, IconPlus, IconSearch, IconUsers } from '@tabler/icons-react';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { paths } from '../../../../sdk/src/schema';
import type { User } from '../../api/session';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { NewUser } from './users/new-user';
import { PlanSelect } from './users/plan-select';
import { UserRowActions } from './users/user-actions';
import { nameOf } from './users/user-name';

const COLUMNS: Column<User>[] = [
  {
    header: 'User',
    render: (user) => (
      <>
        {nameOf(user)}
        {user.username !== null && user.email !== null && (
          <Text size="xs" c="dimmed" span display="block">
            {user.email}
          </Text>
        )}
      </>
    ),
  },
  {
    header: 'Name',
    render: ({ firstName, lastName }) => [firstName, lastName].filter(Boolean).join(' ') || '–',
    onPhone: false,
  },
  { header: 'Role', render: ({ role }) => (role === 'admin' ? <Badge>admin</Badge> : role), onPhone: false },
  { header: 'Plan', render: ({ plan }) => plan ?? '–', onPhone: false },
  {
    header: 'Status',
    render: ({ status }) => <Badge color={status === 'active' ? 'green' : 'gray'}>{status}</Badge>,
  },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="day" />, onPhone: false },
  { header: 'Last sign-in', render: ({ lastLoginAt }) => <Time at={lastLoginAt} as="relative" />, onPhone: false },
  { header: 'Actions', render: (user) => <UserRowActions user={user} />, hidesHeader: true, align: 'right', width: 56 },
];

/** Three in a row on a phone. */
const FILTER = { flex: '1 1 100px', maxWidth: 160 };

type Filter = NonNullable<paths['/v1/users']['get']['parameters']['query']>;

/** All accounts: search, create, import, and what can be done with each. */
export default function Users() {
  const { create, ...filter } = useSearch({ from: '/shell/users' });
  const navigate = useNavigate({ from: '/users' });
  const [text, setText] = useState(filter.query ?? '');
  const narrow = (name: keyof typeof filter, value: string | null): void =>
    void navigate({
      search: (before) => ({ ...before, [name]: value === '' ? undefined : (value ?? undefined) }),
      replace: true,
    });
  const search = useDebouncedCallback((query: string) => narrow('query', query), 250);
  const isFiltered = Object.keys(filter).length > 0;
  const pages = usePages(['users', 'list', filter], ({ cursor, signal }) =>
    // The server says which values are not valid.
    answer(api.GET('/v1/users', { params: { query: { ...(filter as Filter), cursor } }, signal })),
  );
  const setCreate = (isOpen: boolean): void =>
    void navigate({ search: { ...filter, ...(isOpen ? { create: 'yes' } : {}) }, replace: true });

  return (
    <>
      <PageHeader
        title="Users"
        description="Accounts, newest first."
        actions={
          <>
            <Button variant="default" component={Link} to="/users/import" leftSection={<IconFileImport size={16} />}>
              Import
            </Button>
            <Button leftSection={<IconPlus size={16} />} onClick={() => setCreate(true)}>
              New user
            </Button>
          </>
        }
      />
      <Group gap="sm" mb="md">
        <TextInput
          aria-label="Search users"
          placeholder="Start of a username or an e-mail address"
          leftSection={<IconSearch size={16} stroke={1.6} />}
          value={text}
          onChange={(event) => {
            setText(event.currentTarget.value);
            search(event.currentTarget.value.trim());
          }}
          style={{ flex: '1 1 300px', maxWidth: 420 }}
        />
        <Select
          aria-label="Status"
          placeholder="Status"
          data={['active', 'disabled']}
          value={filter.status ?? null}
          onChange={(status) => narrow('status', status)}
          clearable
          clearButtonProps={{ 'aria-label': 'Any status' }}
          style={FILTER}
        />
        <Select
          aria-label="Role"
          placeholder="Role"
          data={['user', 'admin']}
          value={filter.role ?? null}
          onChange={(role) => narrow('role', role)}
          clearable
          clearButtonProps={{ 'aria-label': 'Any role' }}
          style={FILTER}
        />
        <PlanSelect
          aria-label="Plan"
          label={null}
          placeholder="Plan"
          value={filter.plan ?? null}
          onChange={(plan) => narrow('plan', plan)}
          clearButtonProps={{ 'aria-label': 'Any plan' }}
          style={FILTER}
        />
      </Group>
      <DataTable
        label="Users"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ id }) => id}
        rowLink={({ id }) => ({ to: '/users/$user', params: { user: id } })}
        empty={
          <EmptyState title={isFiltered ? 'No user found' : 'No users'} icon={IconUsers}>
            {isFiltered ? 'Widen the filter, or shorten the text.' : 'Create one, or import a list.'}
          </EmptyState>
        }
      />
      <NewUser opened={create !== undefined} onClose={() => setCreate(false)} />
    </>
  );
}
