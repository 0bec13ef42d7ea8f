import { Button, Group, Modal, NumberInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { DateTimePicker } from '@mantine/dates';
import '@mantine/dates/styles.css';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import type { User } from '../../../api/session';
import { usePages } from '../../../api/use-pages';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { formatNumber, Num } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { FormActions } from '../../../components/form-actions';

type Grant = components['schemas']['CreditGrantResponse'];

const COLUMNS: Column<Grant>[] = [
  { header: 'Reason', render: ({ reason }) => reason ?? '–' },
  { header: 'Credits', render: ({ amount }) => <Num value={amount} />, align: 'right' },
  { header: 'Granted', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, onPhone: false },
  { header: 'Expires', render: ({ expiresAt }) => <Time at={expiresAt} as="day" /> },
];

/** The credits of a user, and the bonus credits in addition. */
export function UserCredits({ user }: { user: User }) {
  const [isOpen, { open, close }] = useDisclosure();
  const path = { user: user.id };
  const metrics = useQuery({
    queryKey: ['metrics', 'user', user.id],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics/users/{user}', { params: { path }, signal })),
  });
  const grants = usePages(['credits', user.id], ({ cursor, signal }) =>
    answer(api.GET('/v1/users/{user}/credits', { params: { path, query: { cursor } }, signal })),
  );
  const { credits, remainingCredits } = metrics.data ?? {};
  return (
    <section aria-label="Credits">
      <Group justify="space-between" mt="xl" mb="sm">
        <div>
          <Title order={2} size="h4">
            Credits
          </Title>
          <Text size="sm" c="dimmed" mih={22}>
            {credits !== undefined &&
              (credits === null
                ? 'Unlimited: nothing limits the number of tasks.'
                : `${formatNumber(credits)} with grants, ${formatNumber(remainingCredits ?? 0)} left. Each task holds one. The quota on tasks is their limit.`)}
          </Text>
        </div>
        <Button size="xs" variant="default" leftSection={<IconPlus size={14} />} onClick={open}>
          Grant credits
        </Button>
      </Group>
      <ProblemAlert error={metrics.error} />
      <DataTable
        label="Bonus credits"
        columns={COLUMNS}
        pages={grants}
        rowKey={({ id }) => id}
        empty={
          <EmptyState title="No bonus credits">
            Grant some in addition to the limit, with or without an expiry.
          </EmptyState>
        }
      />
      <Modal opened={isOpen} onClose={close} title="Grant credits">
        <GrantForm user={user.id} isUnlimited={credits === null} onDone={close} />
      </Modal>
    </section>
  );
}

interface GrantFormProps {
  user: string;
  isUnlimited: boolean;
  onDone: () => void;
}

function GrantForm({ user, isUnlimited, onDone }: GrantFormProps) {
  const form = useForm({ initialValues: { amount: 10, reason: '', expiresAt: null as string | null } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: ({ amount, reason, expiresAt }: typeof form.values, { idempotencyKey }) =>
      answer(
        api.POST('/v1/users/{user}/credits', {
          params: { path: { user }, header: { 'Idempotency-Key': idempotencyKey } },
          body: {
            amount,
            ...(reason.trim() === '' ? {} : { reason: reason.trim() }),
            // The field has the reader's time without a zone.
            ...(expiresAt === null ? {} : { expiresAt: new Date(expiresAt.replace(' ', 'T')).toISOString() }),
          },
        }),
      ),
    success: ({ amount }) => `${formatNumber(amount)} credits granted`,
    invalidates: [['credits', user], ['quotas', user], ['metrics'], ['users']],
    form,
    onSuccess: onDone,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        {isUnlimited && (
          <Text size="sm" c="dimmed">
            The credits of this user are unlimited. A grant counts as soon as a limit on tasks is set.
          </Text>
        )}
        <NumberInput
          label="Credits"
          min={1}
          allowDecimal={false}
          thousandSeparator=","
          data-autofocus
          {...form.getInputProps('amount')}
        />
        <TextInput label="Reason (optional)" maxLength={500} {...form.getInputProps('reason')} />
        <DateTimePicker
          label="Expires (optional)"
          description="Tasks created with these credits stay."
          placeholder="Never"
          clearable
          clearButtonProps={{ 'aria-label': 'Never' }}
          minDate={new Date().toISOString().slice(0, 10)}
          {...form.getInputProps('expiresAt')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onDone} isPending={isPending}>
          Grant
        </FormActions>
      </Stack>
    </form>
  );
}
