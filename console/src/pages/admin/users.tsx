import { Badge } from '@mantine/core';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { User } from '../../api/session';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

const COLUMNS: Column<User>[] = [
  { header: 'User', render: ({ id, username, email }) => username ?? email ?? id },
  { header: 'E-mail', render: ({ email }) => email, onPhone: false },
  { header: 'Role', render: ({ role }) => role },
  { header: 'Plan', render: ({ plan }) => plan ?? '–', onPhone: false },
  {
    header: 'Status',
    render: ({ status }) => <Badge color={status === 'active' ? 'green' : 'gray'}>{status}</Badge>,
  },
  { header: 'Last sign-in', render: ({ lastLoginAt }) => <Time at={lastLoginAt} as="relative" />, onPhone: false },
];

export default function Users() {
  const pages = usePages(['users'], ({ cursor, signal }) =>
    answer(api.GET('/v1/users', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="Users" description="Accounts, newest first." />
      <DataTable
        label="Users"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ id }) => id}
        rowLink={({ id }) => ({ to: '/users/$user', params: { user: id } })}
      />
    </>
  );
}
