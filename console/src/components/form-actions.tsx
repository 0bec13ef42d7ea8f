import { Button, Group } from '@mantine/core';
import type { ReactNode } from 'react';

/** The buttons below a form in a dialog: cancel, and submit with this label. */
export function FormActions(props: { onCancel: () => void; isPending: boolean; children: ReactNode }) {
  return (
    <Group justify="flex-end" gap="xs">
      <Button variant="default" onClick={props.onCancel}>
        Cancel
      </Button>
      <Button type="submit" loading={props.isPending}>
        {props.children}
      </Button>
    </Group>
  );
}
