import { Button, Text } from '@mantine/core';
import { IconDevices } from '@tabler/icons-react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { confirmDelete } from '../../../components/confirm-delete';
import { deviceOf } from '../../../components/device';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';

type Session = components['schemas']['SessionResponse'];

/** The sessions of a user, which an administrator can end. */
export function UserSessions({ user }: { user: string }) {
  const pages = usePages(['sessions', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/users/{user}/sessions', { params: { path: { user }, query: { cursor } }, signal })),
  );
  const ending = useMutationWithNotice({
    mutationFn: (id: string) => api.DELETE('/v1/users/{user}/sessions/{id}', { params: { path: { user, id } } }),
    success: 'Session ended',
    invalidates: [['sessions', user], ['security', user], ['audit']],
  });
  const columns: Column<Session>[] = [
    {
      header: 'Device',
      render: ({ userAgent, current }) => (
        <>
          <Text size="sm">
            {current ? 'This session: ' : ''}
            {deviceOf(userAgent)}
          </Text>
          <Text size="xs" c="dimmed" lineClamp={1} visibleFrom="sm" style={{ overflowWrap: 'anywhere' }}>
            {userAgent}
          </Text>
        </>
      ),
    },
    { header: 'Address', render: ({ ip }) => ip ?? '–', width: 150, onPhone: false },
    { header: 'Signed in', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, width: 150 },
    {
      header: 'Last active',
      render: ({ refreshedAt, createdAt }) => <Time at={refreshedAt ?? createdAt} as="relative" />,
      width: 150,
      onPhone: false,
    },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      width: 100,
      render: ({ id }) => (
        <Button
          size="xs"
          variant="default"
          onClick={() =>
            confirmDelete({
              what: 'this session',
              verb: 'End',
              note: 'Its tokens are refused at once. The user can sign in again.',
              onConfirm: () => ending.mutateAsync(id),
            })
          }
        >
          End
        </Button>
      ),
    },
  ];
  return (
    <DataTable
      label="Sessions"
      columns={columns}
      pages={pages}
      rowKey={({ id }) => id}
      empty={
        <EmptyState title="No sessions" icon={IconDevices}>
          The user is signed in nowhere.
        </EmptyState>
      }
    />
  );
}
