import { ActionIcon, Button, Card, Group, Modal, SimpleGrid, Skeleton, Stack, Title, Tooltip } from '@mantine/core';
import { IconGauge, IconPencil, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQuery, type QueryKey } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import type { components } from '../../../sdk/src/schema';
import { confirmDelete } from './confirm-delete';
import { EmptyState } from './empty-state';
import { formErrors } from './form-errors';
import { LimitBar, limitName } from './limit-bar';
import { LimitFields, type LimitDto, type Window } from './limit-fields';
import { ProblemAlert } from './problem-alert';
import { useMutationWithNotice } from './use-mutation-with-notice';
import { FormActions } from './form-actions';

type Quota = components['schemas']['QuotaResponse'];

interface QuotaPanelProps {
  title: string;
  queryKey: QueryKey;
  list: (signal: AbortSignal) => Promise<{ data: Quota[] }>;
  set: (limit: LimitDto) => Promise<unknown>;
  unset: (meter: string, window: Window) => Promise<unknown>;
  /** The scope of the limits that this panel can remove. Limits of other scopes can be overridden if `overrides`. */
  scope: Quota['scope'];
  overrides?: Quota['scope'];
  /** What applies after a limit is removed. */
  afterRemoval: string;
  empty: ReactNode;
}

const NEW: LimitDto = { meter: 'api:*', window: 'month', limit: 1_000 };

/** All quotas as bars, to change in place. */
export function QuotaPanel(props: QuotaPanelProps) {
  const { title, queryKey, list, unset, scope, overrides, afterRemoval, empty } = props;
  const [edited, setEdited] = useState<{ limit: LimitDto; isNew: boolean }>();
  const quotas = useQuery({ queryKey, queryFn: ({ signal }) => list(signal), refetchInterval: 30_000 });
  const removal = useMutationWithNotice({
    mutationFn: ({ meter, window }: Quota) => unset(meter, window),
    success: 'Quota removed',
    invalidates: [queryKey],
  });

  return (
    <section aria-label={title}>
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4">
          {title}
        </Title>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconPlus size={14} />}
          onClick={() => setEdited({ limit: NEW, isNew: true })}
        >
          Set a quota
        </Button>
      </Group>
      <ProblemAlert error={quotas.error} onRetry={() => quotas.refetch()} />
      {quotas.data?.data.length === 0 && (
        <Card>
          <EmptyState title="No quotas" icon={IconGauge}>
            {empty}
          </EmptyState>
        </Card>
      )}
      <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }} spacing="sm">
        {quotas.isPending && [1, 2, 3].map((each) => <Skeleton key={each} height={110} radius="md" />)}
        {limitedFirst(quotas.data?.data ?? []).map((quota) => {
          const name = limitName(quota);
          const limit = { meter: quota.meter, window: quota.window, limit: quota.limit };
          return (
            <Card key={`${name} ${quota.scope}`} padding="md">
              <Group wrap="nowrap" gap="xs">
                <div style={{ flex: 1, minWidth: 0 }}>
                  <LimitBar quota={quota} />
                </div>
                <Group gap={0} wrap="nowrap" w={56} mr={-8}>
                  {[scope, overrides].includes(quota.scope) && (
                    <Tooltip label={quota.scope === scope ? 'Change' : `Override the limit of the ${quota.scope}`}>
                      <ActionIcon
                        variant="subtle"
                        color="gray"
                        aria-label={`Change the quota ${name}`}
                        onClick={() => setEdited({ limit, isNew: false })}
                      >
                        <IconPencil size={16} stroke={1.6} />
                      </ActionIcon>
                    </Tooltip>
                  )}
                  {quota.scope === scope && (
                    <Tooltip label="Remove">
                      <ActionIcon
                        variant="subtle"
                        color="gray"
                        aria-label={`Remove the quota ${name}`}
                        onClick={() =>
                          confirmDelete({
                            what: `the quota ${name}`,
                            verb: 'Remove',
                            note: afterRemoval,
                            onConfirm: () => removal.mutateAsync(quota),
                          })
                        }
                      >
                        <IconTrash size={16} stroke={1.6} />
                      </ActionIcon>
                    </Tooltip>
                  )}
                </Group>
              </Group>
            </Card>
          );
        })}
      </SimpleGrid>
      <Modal
        opened={edited !== undefined}
        onClose={() => setEdited(undefined)}
        title={edited?.isNew === false ? `Change ${limitName(edited.limit)}` : 'Set a quota'}
      >
        {edited !== undefined && <QuotaForm {...props} initial={edited} onDone={() => setEdited(undefined)} />}
      </Modal>
    </section>
  );
}

/** Meters without a limit come last. */
function limitedFirst(quotas: Quota[]): Quota[] {
  return [...quotas.filter(({ limit }) => limit !== null), ...quotas.filter(({ limit }) => limit === null)];
}

interface QuotaFormProps extends Pick<QuotaPanelProps, 'set' | 'queryKey'> {
  initial: { limit: LimitDto; isNew: boolean };
  onDone: () => void;
}

function QuotaForm({ set, queryKey, initial, onDone }: QuotaFormProps) {
  const [limit, setLimit] = useState(initial.limit);
  const [errors, setErrors] = useState<Record<string, string>>({});
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (value: LimitDto) => set(value),
    success: (_data, value) => `Quota ${limitName(value)} set`,
    invalidates: [queryKey],
    form: { setErrors },
    onSuccess: onDone,
  });
  const isShown = Object.keys(formErrors(error)).every((field) => ['meter', 'window', 'limit'].includes(field));
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setErrors({});
        mutate(limit);
      }}
    >
      <Stack>
        <LimitFields value={limit} onChange={setLimit} isFixed={!initial.isNew} errors={errors} />
        <ProblemAlert error={error} showsFields={!isShown} />
        <FormActions onCancel={onDone} isPending={isPending}>
          Save
        </FormActions>
      </Stack>
    </form>
  );
}
