import { Alert, Button, Checkbox, Group, Stack } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { useState, type ReactNode } from 'react';
import { CopyField } from './copy-field';

interface SecretOnceProps {
  label: string;
  secret: string;
  /** More about its use, such as a command line. */
  children?: ReactNode;
  onDone: () => void;
}

/** A secret that the server shows only this once. It stays until the reader says that it is stored. */
export function SecretOnce({ label, secret, children, onDone }: SecretOnceProps) {
  const [stored, setStored] = useState(false);
  return (
    <Stack>
      <Alert color="orange" icon={<IconAlertTriangle />} title="Copy it now">
        It is shown only this once. Anyone who has it can use it, so store it like a password.
      </Alert>
      <CopyField label={label} value={secret} />
      {children}
      <Checkbox
        label="I have stored it"
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
