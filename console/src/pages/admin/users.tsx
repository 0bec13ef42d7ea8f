import { Badge, Button, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconFileImport, IconPlus, IconSearch, IconUsers } from '@tabler/icons-react';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { User } from '../../api/session';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { NewUser } from './users/new-user';
import { UserActions } from './users/user-actions';
import { nameOf } from './users/user-name';

const COLUMNS: Column<User>[] = [
  { header: 'User', render: (user) => nameOf(user) },
  {
    header: 'Name',
    render: ({ firstName, lastName }) => [firstName, lastName].filter(Boolean).join(' ') || '–',
    onPhone: false,
  },
  { header: 'E-mail', render: ({ email }) => email ?? '–', onPhone: false },
  { header: 'Plan', render: ({ plan }) => plan ?? '–', onPhone: false },
  {
    header: 'Status',
    render: ({ status, role }) => (
      <>
        <Badge color={status === 'active' ? 'green' : 'gray'}>{status}</Badge>
        {role === 'admin' && <Badge ml={6}>admin</Badge>}
      </>
    ),
  },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="day" />, onPhone: false },
  { header: 'Last sign-in', render: ({ lastLoginAt }) => <Time at={lastLoginAt} as="relative" />, onPhone: false },
  { header: 'Actions', render: (user) => <UserActions user={user} />, hidesHeader: true, align: 'right', width: 56 },
];

/** All accounts: search, create, import, and what can be done with each. */
export default function Users() {
  const { q = '', create } = useSearch({ from: '/shell/users' });
  const navigate = useNavigate({ from: '/users' });
  const [text, setText] = useState(q);
  const search = useDebouncedCallback(
    (query: string) => void navigate({ search: query === '' ? {} : { q: query }, replace: true }),
    250,
  );
  const pages = usePages(['users', 'list', q], ({ cursor, signal }) =>
    answer(api.GET('/v1/users', { params: { query: { cursor, ...(q === '' ? {} : { query: q }) } }, signal })),
  );
  const setCreate = (isOpen: boolean): void =>
    void navigate({ search: { ...(q === '' ? {} : { q }), ...(isOpen ? { create: true } : {}) }, replace: true });

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
      <TextInput
        aria-label="Search users"
        placeholder="Start of a username or an e-mail address"
        leftSection={<IconSearch size={16} stroke={1.6} />}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          search(event.currentTarget.value.trim());
        }}
        maw={380}
        mb="md"
      />
      <DataTable
        label="Users"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ id }) => id}
        rowLink={({ id }) => ({ to: '/users/$user', params: { user: id } })}
        empty={
          <EmptyState title={q === '' ? 'No users' : 'No user found'} icon={IconUsers}>
            {q === '' ? 'Create one, or import a list.' : `No username or e-mail address begins with "${q}".`}
          </EmptyState>
        }
      />
      <NewUser opened={create === true} onClose={() => setCreate(false)} />
    </>
  );
}
