import { Alert, Button, Checkbox, Code, Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconAlertTriangle, IconDownload } from '@tabler/icons-react';
import { useState } from 'react';
import { download } from '../download';

/** Shows recovery codes, this once. */
export function RecoveryCodes({ codes, onDone }: { codes: string[]; onDone: () => void }) {
  const [stored, setStored] = useState(false);
  return (
    <Stack>
      <Alert color="orange" icon={<IconAlertTriangle />} title="Store these recovery codes now">
        They are shown only this once. Each replaces a code of the authenticator app once, if you lose the device.
      </Alert>
      <SimpleGrid cols={2} spacing="xs">
        {codes.map((code) => (
          <Code key={code} fz="sm" ta="center" py={6}>
            {code}
          </Code>
        ))}
      </SimpleGrid>
      <Group>
        <Button
          variant="default"
          leftSection={<IconDownload size={16} />}
          onClick={() => download('recovery-codes.txt', [codes.join('\n'), '\n'], 'text/plain')}
        >
          Download
        </Button>
        <Text size="xs" c="dimmed">
          or write them down
        </Text>
      </Group>
      <Checkbox
        label="I have stored them"
        checked={stored}
        onChange={(event) => setStored(event.currentTarget.checked)}
      />
      <Group justify="flex-end">
        <Button disabled={!stored} onClick={onDone}>
          Done
        </Button>
      </Group>
    </Stack>
  );
}
