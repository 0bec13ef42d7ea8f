import { Alert, Button, Code, Group, List, Stack, Text } from '@mantine/core';
import { IconGitMerge } from '@tabler/icons-react';

interface ConflictsProps {
  edit: {
    conflicts: { field: string; stored: unknown }[];
    keepMine: () => void;
    takeTheirs: () => void;
  };
}

/** Says what somebody else changed while a form was open, and asks what to keep. */
export function Conflicts({ edit: { conflicts, keepMine, takeTheirs } }: ConflictsProps) {
  if (conflicts.length === 0) return null;
  return (
    <Alert color="orange" icon={<IconGitMerge />} title="Somebody has changed it meanwhile" role="alert">
      <Stack gap="xs">
        <Text size="sm">Stored now:</Text>
        <List size="sm">
          {conflicts.map(({ field, stored }) => (
            <List.Item key={field}>
              {field}: <Code>{typeof stored === 'string' ? stored : JSON.stringify(stored)}</Code>
            </List.Item>
          ))}
        </List>
        <Group gap="xs">
          <Button size="xs" variant="default" onClick={keepMine}>
            Keep my input
          </Button>
          <Button size="xs" variant="default" onClick={takeTheirs}>
            Show what is stored
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}
