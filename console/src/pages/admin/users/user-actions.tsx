import { ActionIcon, Menu } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { modals } from '@mantine/modals';
import { IconBan, IconCheck, IconDots, IconGauge, IconLink, IconTrash } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { User } from '../../../api/session';
import { confirmDelete } from '../../../components/confirm-delete';
import { formatBytes, formatNumber } from '../../../components/num';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { ResetLink } from './reset-link';
import { nameOf } from './user-name';

interface UserActionsProps {
  user: User;
  /** Default: three dots. */
  target?: React.ReactElement;
  /** Opens the menu as soon as it is there. */
  opensAtOnce?: boolean;
  onDeleted?: () => void;
}

/**
 * What can be done with an account, in a row of a list. The menu is made when it is wanted: fifty of them would take longer
 * than the rest of the list.
 */
export function UserRowActions({ user }: { user: User }) {
  const [isWanted, want] = useDisclosure();
  if (isWanted) return <UserActions user={user} opensAtOnce />;
  return (
    <ActionIcon
      variant="subtle"
      color="gray"
      aria-label={`Actions for ${nameOf(user)}`}
      aria-haspopup="menu"
      aria-expanded={false}
      onClick={want.open}
    >
      <IconDots size={18} stroke={1.6} />
    </ActionIcon>
  );
}

/** What can be done with an account, in a menu. */
export function UserActions({ user, target, opensAtOnce = false, onDeleted }: UserActionsProps) {
  const path = { user: user.id };
  const name = nameOf(user);
  const navigate = useNavigate();
  const isActive = user.status === 'active';
  const dots = useRef<HTMLButtonElement>(null);
  const [isOpen, { open, close }] = useDisclosure();
  useEffect(() => {
    if (!opensAtOnce) return;
    // The focus returns to it when the menu closes.
    dots.current?.focus();
    open();
  }, [opensAtOnce, open]);

  const status = useMutationWithNotice({
    mutationFn: (to: User['status']) =>
      answer(api.PATCH('/v1/users/{user}', { params: { path }, body: { status: to } })),
    success: (_data, to) => `${name} ${to === 'active' ? 'enabled' : 'disabled'}`,
    invalidates: [['users']],
  });
  const deletion = useMutationWithNotice({
    mutationFn: () => api.DELETE('/v1/users/{user}', { params: { path } }),
    success: `${name} deleted`,
    invalidates: [['users', 'list'], ['metrics']],
    ...(onDeleted === undefined ? {} : { onSuccess: onDeleted }),
  });
  const confirm = useMutationWithNotice({
    mutationFn: () => losses(user),
    onSuccess: (loses) =>
      confirmDelete({ what: `the user ${name}`, loses, typed: name, onConfirm: () => deletion.mutateAsync() }),
  });

  return (
    <Menu position="bottom-end" withArrow width={220} opened={isOpen} onChange={(opens) => (opens ? open() : close())}>
      <Menu.Target>
        {target ?? (
          <ActionIcon
            ref={dots}
            variant="subtle"
            color="gray"
            aria-label={`Actions for ${name}`}
            loading={confirm.isPending}
          >
            <IconDots size={18} stroke={1.6} />
          </ActionIcon>
        )}
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item
          leftSection={<IconGauge size={16} />}
          onClick={() => void navigate({ to: '/users/$user', params: { user: user.id } })}
        >
          Quotas
        </Menu.Item>
        <Menu.Item
          leftSection={<IconLink size={16} />}
          onClick={() =>
            modals.open({ title: `Reset the password of ${name}`, children: <ResetLink user={user.id} /> })
          }
        >
          Password reset link
        </Menu.Item>
        <Menu.Item
          leftSection={isActive ? <IconBan size={16} /> : <IconCheck size={16} />}
          onClick={() => {
            if (!isActive) status.mutate('active');
            else
              confirmDelete({
                what: `the user ${name}`,
                verb: 'Disable',
                note: 'Its next request is refused, with a token or an API key. Nothing it owns is lost, and it can be enabled again.',
                onConfirm: () => status.mutateAsync('disabled'),
              });
          }}
        >
          {isActive ? 'Disable' : 'Enable'}
        </Menu.Item>
        <Menu.Divider />
        <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={() => confirm.mutate()}>
          Delete
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** Says what is deleted with an account. */
async function losses({ id }: User): Promise<string[]> {
  const path = { user: id };
  const [metrics, security, keys] = await Promise.all([
    answer(api.GET('/v1/metrics/users/{user}', { params: { path } })),
    answer(api.GET('/v1/users/{user}/security', { params: { path } })),
    answer(api.GET('/v1/keys', { params: { query: { owner: id, limit: 100 } } })),
  ]);
  const keyCount = `${formatNumber(keys.data.length)}${keys.nextCursor === null ? '' : ' or more'}`;
  const { tasks, resources, store } = metrics;
  const counts: [number, string][] = [
    [keys.data.length, `API keys: ${keyCount}`],
    [resources, `Resources: ${formatNumber(resources)}`],
    [tasks.total, `Tasks: ${formatNumber(tasks.total)}`],
    [store.entries, `Store entries: ${formatNumber(store.entries)} (${formatBytes(store.bytes)})`],
    [security.sessions, `Sessions: ${formatNumber(security.sessions)}`],
    [security.signingKeys, `Signing keys: ${formatNumber(security.signingKeys)}`],
  ];
  const owned = counts.filter(([count]) => count > 0).map(([, text]) => text);
  return [...owned, 'The account with its quotas and credits; its recorded usage and its audit entries stay'];
}
