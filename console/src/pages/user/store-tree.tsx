import { Box, Button, NavLink, Skeleton, Text } from '@mantine/core';
import { IconDatabase, IconFolder } from '@tabler/icons-react';
import { useState } from 'react';
import { usePages } from '../../api/use-pages';
import { DELIMITER, listFolders } from './store-requests';

interface LevelProps {
  /** The level below this prefix. */
  prefix: string;
  current: string;
  onOpen: (prefix: string) => void;
}

/** The prefixes of all keys as a tree; a level is read when it is first opened. */
export function StoreTree({ current, onOpen }: Omit<LevelProps, 'prefix'>) {
  return (
    <Box component="nav" aria-label="Prefixes">
      <NavLink
        component="button"
        label="All entries"
        leftSection={<IconDatabase size={16} stroke={1.6} />}
        active={current === ''}
        aria-current={current === '' ? 'true' : undefined}
        onClick={() => onOpen('')}
      />
      <Level prefix="" current={current} onOpen={onOpen} />
    </Box>
  );
}

function Level({ prefix, current, onOpen }: LevelProps) {
  const { rows: folders, query } = usePages(['store', 'me', 'folders', prefix], (request) =>
    listFolders(prefix, request),
  );
  if (query.isPending) return <Skeleton height={20} my={8} mx="sm" w="70%" />;
  return (
    <>
      {folders.map((folder) => (
        <Folder key={folder} prefix={folder} parent={prefix} current={current} onOpen={onOpen} />
      ))}
      {query.hasNextPage && (
        <Button
          variant="subtle"
          size="xs"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          More prefixes
        </Button>
      )}
      {folders.length === 0 && !query.hasNextPage && prefix !== '' && (
        <Text size="xs" c="dimmed" px="sm" py={4}>
          No further levels
        </Text>
      )}
    </>
  );
}

function Folder({ prefix, parent, current, onOpen }: LevelProps & { parent: string }) {
  const [opened, setOpened] = useState(current.startsWith(prefix));
  return (
    <NavLink
      component="button"
      label={prefix.slice(parent.length, -DELIMITER.length) || '(empty)'}
      leftSection={<IconFolder size={16} stroke={1.6} />}
      active={current === prefix}
      aria-current={current === prefix ? 'true' : undefined}
      aria-expanded={opened}
      opened={opened}
      onChange={setOpened}
      onClick={() => onOpen(prefix)}
      childrenOffset={20}
    >
      {/* A level is read once it is open. */}
      {opened ? <Level prefix={prefix} current={current} onOpen={onOpen} /> : <span />}
    </NavLink>
  );
}
