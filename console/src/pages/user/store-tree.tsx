import { Box, NavLink, Skeleton, Text } from '@mantine/core';
import { IconDatabase, IconFolder } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
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

function useFolders(prefix: string) {
  return useQuery({
    queryKey: ['store', 'me', 'folders', prefix],
    queryFn: ({ signal }) => listFolders(prefix, signal),
    staleTime: 30_000,
  });
}

function Level({ prefix, current, onOpen }: LevelProps) {
  const { data, isPending } = useFolders(prefix);
  if (isPending) return <Skeleton height={20} my={8} mx="sm" w="70%" />;
  return (
    <>
      {data?.folders.map((folder) => (
        <Folder key={folder} prefix={folder} parent={prefix} current={current} onOpen={onOpen} />
      ))}
      {data?.isComplete === false && (
        <Text size="xs" c="dimmed" px="sm" py={4}>
          There are more. Enter a prefix to see them.
        </Text>
      )}
      {data?.folders.length === 0 && prefix !== '' && (
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
