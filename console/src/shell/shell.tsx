import {
  AppShell,
  ActionIcon,
  Box,
  Burger,
  Button,
  Container,
  Group,
  Kbd,
  NavLink,
  ScrollArea,
  Text,
  Tooltip,
} from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { IconCode, IconSearch } from '@tabler/icons-react';
import { Link, Outlet, useLocation, useMatches } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useState } from 'react';
import { useUser } from '../api/use-user';
import { navigationOf } from '../navigation';
import { AdminsOnly } from './admins-only';
import { ColorSchemeMenu } from './color-scheme-menu';
import { ConnectionBanner } from './connection-banner';
import { Logo } from './logo';
import { SessionEnded } from './session-ended';
import classes from './shell.module.css';
import { UserMenu } from './user-menu';

const CommandPalette = lazy(() => import('./command-palette'));
const RequestsDrawer = lazy(() => import('./requests-drawer'));

const SHORTCUT = navigator.platform.startsWith('Mac') ? '⌘ K' : 'Ctrl K';

/** The frame of all pages for signed-in users: navigation, command palette, menus and banners. */
export function Shell() {
  const user = useUser();
  const { pathname } = useLocation();
  const { staticData } = useMatches().at(-1) ?? {};
  const [isOpen, { toggle, close }] = useDisclosure();
  const [paletteOpens, setPaletteOpens] = useState(0);
  const openPalette = (): void => setPaletteOpens((times) => times + 1);
  const [requestsOpens, setRequestsOpens] = useState(0);
  const showRequests = (): void => setRequestsOpens((times) => times + 1);
  useHotkeys([['mod+K', openPalette]], []);
  useEffect(close, [pathname, close]);

  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 232, breakpoint: 'sm', collapsed: { mobile: !isOpen } }}
      padding={{ base: 'md', sm: 'xl' }}
    >
      <a href="#main" className={classes.skip}>
        Skip to the content
      </a>
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap" gap="sm">
          <Group gap="sm" wrap="nowrap">
            <Burger
              opened={isOpen}
              onClick={toggle}
              hiddenFrom="sm"
              size="sm"
              aria-label="Navigation"
              aria-expanded={isOpen}
            />
            <Logo />
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Button
              variant="default"
              visibleFrom="sm"
              w={220}
              justify="space-between"
              leftSection={<IconSearch size={16} stroke={1.6} />}
              rightSection={<Kbd size="xs">{SHORTCUT}</Kbd>}
              onClick={openPalette}
              classNames={{ label: classes.search ?? '' }}
              styles={{ label: { flex: 1 } }}
            >
              Search
            </Button>
            <ActionIcon
              variant="subtle"
              color="gray"
              size="lg"
              hiddenFrom="sm"
              aria-label="Search"
              onClick={openPalette}
            >
              <IconSearch size={18} stroke={1.6} />
            </ActionIcon>
            <Tooltip label="API requests of this page">
              <ActionIcon
                variant="subtle"
                color="gray"
                size="lg"
                visibleFrom="sm"
                aria-label="API requests"
                onClick={showRequests}
              >
                <IconCode size={18} stroke={1.6} />
              </ActionIcon>
            </Tooltip>
            <ColorSchemeMenu />
            <UserMenu />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar} p="sm" aria-label="Sections">
        <AppShell.Section grow component={ScrollArea} type="scroll">
          {navigationOf(user).map(({ label: group, entries }) => (
            <Box key={group} mb="md">
              <Text size="xs" fw={600} c="dimmed" px={10} py={6}>
                {group}
              </Text>
              {entries.map(({ label, to, icon: Icon }) => {
                const isActive = pathname === to || pathname.startsWith(`${to}/`);
                return (
                  <NavLink
                    key={to}
                    component={Link}
                    to={to}
                    label={label}
                    leftSection={<Icon size={18} stroke={1.6} />}
                    active={isActive}
                    aria-current={isActive ? 'page' : undefined}
                    className={classes.entry ?? ''}
                  />
                );
              })}
            </Box>
          ))}
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} className={classes.main ?? ''}>
        <ConnectionBanner />
        <Container size="xl" px={0}>
          {staticData?.adminOnly === true && user.role !== 'admin' ? (
            <AdminsOnly title={staticData.title ?? ''} />
          ) : (
            <Outlet />
          )}
        </Container>
      </AppShell.Main>
      <SessionEnded />
      {requestsOpens > 0 && (
        <Suspense>
          <RequestsDrawer opens={requestsOpens} />
        </Suspense>
      )}
      {paletteOpens > 0 && (
        <Suspense>
          <CommandPalette opens={paletteOpens} onShowRequests={showRequests} />
        </Suspense>
      )}
    </AppShell>
  );
}
