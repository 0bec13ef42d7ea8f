import { Alert, Button, Group, Modal, Select, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import type { Issued } from '../issued-key';
import type { Key } from '../key-status';

const GRACES = [
  { value: '0', label: 'becomes invalid at once' },
  { value: '3600', label: 'stays valid for an hour' },
  { value: '86400', label: 'stays valid for a day' },
  { value: '604800', label: 'stays valid for a week' },
  { value: '2592000', label: 'stays valid for 30 days' },
];

interface RotateKeyProps {
  current: Key;
  opened: boolean;
  onClose: () => void;
  onIssued: (key: Issued) => void;
}

/** Gives a key a new secret; the old one may stay valid for a while. */
export function RotateKey({ current, opened, onClose, onIssued }: RotateKeyProps) {
  const [grace, setGrace] = useState('86400');
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (graceSeconds: number, { idempotencyKey }) =>
      answer(
        api.POST('/v1/keys/{id}/rotate', {
          params: { path: { id: current.id }, header: { 'Idempotency-Key': idempotencyKey } },
          body: { graceSeconds },
        }),
      ),
    form: { setErrors: () => undefined },
    invalidates: [['keys']],
    onSuccess: onIssued,
  });
  return (
    <Modal opened={opened} onClose={onClose} title={`Rotate the key “${current.name}”`}>
      <Stack>
        <Text size="sm">
          The key gets a new secret and keeps its id, limits and counts. Give the old secret time until your programs
          use the new one.
        </Text>
        <Select
          label="The old secret"
          data={GRACES}
          value={grace}
          onChange={(value) => setGrace(value ?? '0')}
          allowDeselect={false}
        />
        {grace === '0' && (
          <Alert color="orange" title="Programs that use the key are refused until they have the new secret" />
        )}
        <ProblemAlert error={error} />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button loading={isPending} onClick={() => mutate(Number(grace))}>
            Rotate
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
