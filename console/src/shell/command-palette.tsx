import { useMantineColorScheme } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { Spotlight, spotlight, type SpotlightActionGroupData } from '@mantine/spotlight';
import '@mantine/core/styles/Mark.css';
import '@mantine/spotlight/styles.css';
import { IconCode, IconLogout, IconMoon, IconSearch, IconSun, IconUser } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { answer } from '../api/answer';
import { api } from '../api/client';
import { useUser } from '../api/use-user';
import { ADMIN_ACTIONS, navigationOf } from '../navigation';
import { signOutWithNotice } from './user-menu';

const ICON = { size: 18, stroke: 1.6 };

interface CommandPaletteProps {
  /** How often it was opened: each change opens it. */
  opens: number;
  onShowRequests: () => void;
}

/**
 * Goes to any page or, for administrators, any user, and runs the actions of the shell, by keyboard alone. The shell loads
 * it when it is first wanted.
 */
export default function CommandPalette({ opens, onShowRequests }: CommandPaletteProps) {
  const user = useUser();
  const navigate = useNavigate();
  const { setColorScheme } = useMantineColorScheme();
  const [query, setQuery] = useState('');
  const [searched] = useDebouncedValue(query.trim(), 200);

  const { data: users } = useQuery({
    queryKey: ['users', 'search', searched],
    queryFn: ({ signal }) => answer(api.GET('/v1/users', { params: { query: { query: searched, limit: 5 } }, signal })),
    enabled: user.role === 'admin' && searched.length >= 2,
  });

  useEffect(() => spotlight.open(), [opens]);

  const pages = navigationOf(user).map(({ label: group, entries }) => ({
    group,
    actions: entries.map(({ label, to, description, icon: Icon }) => ({
      id: to,
      label,
      description,
      leftSection: <Icon {...ICON} />,
      onClick: () => void navigate({ to }),
    })),
  }));

  const found: SpotlightActionGroupData = {
    group: 'Users',
    actions: (searched.length >= 2 ? (users?.data ?? []) : []).map(({ id, username, email }) => ({
      id,
      label: username ?? email ?? id,
      description: username === null ? '' : (email ?? ''),
      // The server has found it, so the palette's own filter must find it too.
      keywords: [searched],
      leftSection: <IconUser {...ICON} />,
      onClick: () => void navigate({ to: '/users/$user', params: { user: id } }),
    })),
  };

  const actions: SpotlightActionGroupData = {
    group: 'Actions',
    actions: [
      ...(user.role === 'admin' ? ADMIN_ACTIONS : []).map(({ label, to, search, icon: Icon }) => ({
        id: label,
        label,
        leftSection: <Icon {...ICON} />,
        onClick: () => void navigate({ to, search }),
      })),
      {
        id: 'requests',
        label: 'Show the API requests of this page',
        keywords: ['curl', 'code'],
        leftSection: <IconCode {...ICON} />,
        onClick: onShowRequests,
      },
      {
        id: 'light',
        label: 'Use light colours',
        leftSection: <IconSun {...ICON} />,
        onClick: () => setColorScheme('light'),
      },
      {
        id: 'dark',
        label: 'Use dark colours',
        leftSection: <IconMoon {...ICON} />,
        onClick: () => setColorScheme('dark'),
      },
      { id: 'sign-out', label: 'Sign out', leftSection: <IconLogout {...ICON} />, onClick: signOutWithNotice },
    ],
  };

  return (
    <Spotlight
      shortcut={null}
      // The input stays where it is while the list below it shrinks.
      centered={false}
      query={query}
      onQueryChange={setQuery}
      actions={[...(found.actions.length > 0 ? [found] : []), ...pages, actions]}
      attributes={{ content: { 'aria-label': 'Go to' } }}
      nothingFound="Nothing found"
      scrollable
      maxHeight={420}
      searchProps={{
        leftSection: <IconSearch {...ICON} />,
        placeholder: user.role === 'admin' ? 'Go to a page or a user' : 'Go to a page',
        'aria-label': 'Search',
      }}
    />
  );
}
