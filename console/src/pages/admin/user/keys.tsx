import { ActionIcon, Code, Stack, Text, Tooltip } from '@mantine/core';
import { IconKey, IconTrash } from '@tabler/icons-react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { usePages } from '../../../api/use-pages';
import { confirmDelete } from '../../../components/confirm-delete';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { LimitBar, limitName } from '../../../components/limit-bar';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { KeyStatus, Scopes, type Key } from '../../user/key-status';

/** The API keys of a user, with their limits. A key's own page changes them. */
export function UserKeys({ user }: { user: string }) {
  const pages = usePages(['keys', user], ({ cursor, signal }) =>
    answer(api.GET('/v1/keys', { params: { query: { owner: user, cursor } }, signal })),
  );
  const revocation = useMutationWithNotice({
    mutationFn: ({ id }: Key) => api.DELETE('/v1/keys/{id}', { params: { path: { id } } }),
    success: 'Key revoked',
    invalidates: [['keys']],
  });
  const columns: Column<Key>[] = [
    { header: 'Name', render: ({ name }) => name },
    { header: 'Key', render: ({ hint }) => <Code>{hint}…</Code>, onPhone: false },
    { header: 'Scopes', render: (key) => <Scopes {...key} />, onPhone: false },
    {
      header: 'Limits',
      render: ({ limits }) =>
        limits.length === 0 ? (
          <Text size="sm" c="dimmed">
            none
          </Text>
        ) : (
          <Stack gap="xs" miw={200}>
            {limits.map((limit) => (
              <LimitBar key={limitName(limit)} quota={limit} />
            ))}
          </Stack>
        ),
      onPhone: false,
    },
    { header: 'Status', render: (key) => <KeyStatus {...key} /> },
    { header: 'Last used', render: ({ lastUsedAt }) => <Time at={lastUsedAt} as="relative" /> },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      render: (key) => (
        <Tooltip label="Revoke">
          <ActionIcon
            variant="subtle"
            color="gray"
            aria-label={`Revoke the key ${key.name}`}
            onClick={() =>
              confirmDelete({
                what: `the key ${key.name}`,
                verb: 'Revoke',
                note: 'Programs that use it are refused at once. This cannot be undone; its recorded usage stays.',
                onConfirm: () => revocation.mutateAsync(key),
              })
            }
          >
            <IconTrash size={16} stroke={1.6} />
          </ActionIcon>
        </Tooltip>
      ),
    },
  ];
  return (
    <DataTable
      label="API keys"
      columns={columns}
      pages={pages}
      rowKey={({ id }) => id}
      rowLink={({ id }) => ({ to: '/keys/$id', params: { id } })}
      empty={
        <EmptyState title="No API keys" icon={IconKey}>
          The user creates them on the page API keys.
        </EmptyState>
      }
    />
  );
}
