import { Button, Group, List, Stack, Text, TextInput } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { ProblemAlert } from './problem-alert';

interface ConfirmDelete {
  /** What is deleted, with its name: `the plan "free"`. */
  what: string;
  /** What goes with it, one entry a line. */
  loses?: string[];
  /** Must be typed, for what cannot be restored and matters. */
  typed?: string;
  /** Default: Delete. */
  verb?: string;
  /** What is true afterwards. Default: "This cannot be undone." */
  note?: string;
  onConfirm: () => Promise<unknown>;
}

/** Asks before something is lost. The dialog stays open, with the reason, if the server refuses. */
export function confirmDelete(options: ConfirmDelete): void {
  const { what, verb = 'Delete' } = options;
  const id = modals.open({
    title: `${verb} ${what}?`,
    children: <ConfirmForm {...options} onClose={() => modals.close(id)} />,
  });
}

function ConfirmForm({
  loses = [],
  typed,
  verb = 'Delete',
  note = 'This cannot be undone.',
  onConfirm,
  onClose,
}: ConfirmDelete & { onClose: () => void }) {
  const [text, setText] = useState('');
  const { mutate, isPending, error } = useMutation({ mutationFn: onConfirm, onSuccess: onClose });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        mutate();
      }}
    >
      <Stack>
        {loses.length > 0 && (
          <div>
            <Text size="sm">These are lost with it:</Text>
            <List size="sm">
              {loses.map((line) => (
                <List.Item key={line}>{line}</List.Item>
              ))}
            </List>
          </div>
        )}
        <Text size="sm">{note}</Text>
        {typed !== undefined && (
          <TextInput
            label={`Type ${typed} to confirm`}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            autoComplete="off"
            data-autofocus
          />
        )}
        <ProblemAlert error={error} />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" color="red.9" loading={isPending} disabled={typed !== undefined && text !== typed}>
            {verb}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
