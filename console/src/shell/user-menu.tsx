import { Avatar, Menu, Text, UnstyledButton } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconLogout, IconUserCircle } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { explain } from '../api/explain';
import { signOut } from '../api/session';
import { useUser } from '../api/use-user';

/** Signs out; says so if the server did not answer, because the session then still exists. */
export function signOutWithNotice(): void {
  signOut().catch((error: unknown) => {
    const { title, message } = explain(error);
    notifications.show({ color: 'red', title: `Not signed out: ${title}`, message });
  });
}

/** Who is signed in, and the way out. */
export function UserMenu() {
  const user = useUser();
  const name = user.username ?? user.email ?? user.id;
  return (
    <Menu position="bottom-end" withArrow width={220}>
      <Menu.Target>
        <UnstyledButton aria-label={`Your account: ${name}`} style={{ borderRadius: '50%' }}>
          <Avatar size={32} radius="xl" color="indigo" variant="filled" aria-hidden>
            {name.slice(0, 1).toUpperCase()}
          </Avatar>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          <Text size="sm" fw={600} c="var(--mantine-color-text)" truncate>
            {name}
          </Text>
          <Text size="xs">{user.role === 'admin' ? 'Administrator' : 'User'}</Text>
        </Menu.Label>
        <Menu.Divider />
        <Menu.Item component={Link} to="/account" leftSection={<IconUserCircle size={16} />}>
          Account
        </Menu.Item>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={signOutWithNotice}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
