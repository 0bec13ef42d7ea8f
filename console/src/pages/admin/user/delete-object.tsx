import { ActionIcon, Tooltip } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';
import type { QueryKey } from '@tanstack/react-query';
import { confirmDelete } from '../../../components/confirm-delete';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';

interface DeleteObjectProps {
  what: string;
  send: () => Promise<unknown>;
  stale: QueryKey;
  user: string;
}

/** Deletes one object of a user, after asking. */
export function DeleteObject({ what, send, stale, user }: DeleteObjectProps) {
  const { mutateAsync } = useMutationWithNotice({
    mutationFn: send,
    success: 'Deleted',
    invalidates: [stale, ['quotas', user], ['metrics']],
  });
  return (
    <Tooltip label="Delete">
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={`Delete ${what}`}
        onClick={() => confirmDelete({ what, onConfirm: () => mutateAsync() })}
      >
        <IconTrash size={16} stroke={1.6} />
      </ActionIcon>
    </Tooltip>
  );
}
