import { Button, Card, Group, Modal, SimpleGrid, Stack, Text, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { FormActions } from '../../../components/form-actions';
import { LimitBar, limitName } from '../../../components/limit-bar';
import { ProblemAlert } from '../../../components/problem-alert';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import type { Key } from '../key-status';
import { LimitFields, NEW_LIMIT, type LimitRows } from '../limit-rows';

/** The limits of a key, and how much of them it has used. */
export function KeyLimits({ keyId, limits, rule }: { keyId: string; limits: Key['limits']; rule: string }) {
  const [isOpen, { open, close }] = useDisclosure();
  return (
    <section aria-labelledby="limits">
      <Group justify="space-between" mb="sm">
        <div>
          <Title order={2} size="h4" id="limits">
            Limits
          </Title>
          <Text size="sm" c="dimmed">
            {rule}
          </Text>
        </div>
        <Button variant="default" onClick={open}>
          Set a limit
        </Button>
      </Group>
      {limits.length === 0 ? (
        <Text size="sm">This key has no limits of its own; only those of the user apply.</Text>
      ) : (
        <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
          {limits.map((quota) => (
            <Card key={limitName(quota)}>
              <LimitBar quota={quota} label={limitName({ ...quota, scope: undefined })} />
            </Card>
          ))}
        </SimpleGrid>
      )}
      <Modal opened={isOpen} onClose={close} title="Set a limit of the key" size="lg">
        <LimitForm keyId={keyId} onClose={close} />
      </Modal>
    </section>
  );
}

function LimitForm({ keyId, onClose }: { keyId: string; onClose: () => void }) {
  const form = useForm<LimitRows>({ initialValues: { limits: [NEW_LIMIT] } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: ({ limits: [row = NEW_LIMIT] }: LimitRows) =>
      answer(
        api.PUT('/v1/keys/{id}/quotas/{meter}', {
          params: { path: { id: keyId, meter: row.meter } },
          body: { window: row.window, limit: Number(row.limit) },
        }),
      ),
    success: 'The limit is set',
    form: { setErrors: () => undefined },
    invalidates: [['keys']],
    onSuccess: onClose,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <Group align="flex-end" gap="xs">
          <LimitFields form={form} index={0} />
        </Group>
        <ProblemAlert error={error} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Set
        </FormActions>
      </Stack>
    </form>
  );
}
