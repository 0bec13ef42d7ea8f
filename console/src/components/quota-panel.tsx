import {
  ActionIcon,
  Button,
  Card,
  Group,
  Modal,
  Paper,
  SimpleGrid,
  Skeleton,
  Table,
  Title,
  Tooltip,
  VisuallyHidden,
} from '@mantine/core';
import { IconGauge, IconPencil, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQuery, type QueryKey } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import type { components } from '../../../sdk/src/schema';
import { confirmDelete } from './confirm-delete';
import { EmptyState } from './empty-state';
import { LimitBar, limitName } from './limit-bar';
import type { LimitDto, Window } from './limit-fields';
import { formatBytes, formatNumber } from './num';
import { ProblemAlert } from './problem-alert';
import { QuotaForm } from './quota-form';
import { useMutationWithNotice } from './use-mutation-with-notice';

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
  /** Whether removing a quota without a limit changes anything. Default: always. */
  isOverride?: (quota: Quota) => boolean;
  /** What applies after a limit is removed. */
  afterRemoval: string;
  empty: ReactNode;
}

const NEW: LimitDto = { meter: 'api:*', window: 'month', limit: 1_000 };

/** All quotas as bars, to change in place. */
export function QuotaPanel(props: QuotaPanelProps) {
  const { title, queryKey, list, unset, scope, overrides, isOverride, afterRemoval, empty } = props;
  const [edited, setEdited] = useState<{ limit: LimitDto; isNew: boolean }>();
  const quotas = useQuery({ queryKey, queryFn: ({ signal }) => list(signal), refetchInterval: 30_000 });
  const removal = useMutationWithNotice({
    mutationFn: ({ meter, window }: Quota) => unset(meter, window),
    success: 'Quota removed',
    invalidates: [queryKey],
  });

  const rows = quotas.data?.data ?? [];
  const limited = rows.filter(({ limit }) => limit !== null);
  const unlimited = rows.filter(({ limit }) => limit === null);

  const actionsOf = (quota: Quota) => {
    const name = limitName(quota);
    const { meter, window, limit } = quota;
    return (
      <Group gap={0} wrap="nowrap" justify="flex-end" my={-4} mr={-6}>
        {[scope, overrides].includes(quota.scope) && (
          <Tooltip label={quota.scope === scope ? 'Change' : `Override the limit of the ${quota.scope}`}>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Change the quota ${name}`}
              onClick={() => setEdited({ limit: { meter, window, limit }, isNew: false })}
            >
              <IconPencil size={16} stroke={1.6} />
            </ActionIcon>
          </Tooltip>
        )}
        {quota.scope === scope && (limit !== null || isOverride === undefined || isOverride(quota)) && (
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
    );
  };

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
        {quotas.isPending && [1, 2, 3].map((each) => <Skeleton key={each} height={124} radius="md" />)}
        {limited.map((quota) => (
          <Card key={`${limitName(quota)} ${quota.scope}`} padding="md">
            <LimitBar quota={quota} actions={actionsOf(quota)} />
          </Card>
        ))}
      </SimpleGrid>
      {unlimited.length > 0 && (
        <Paper withBorder mt="sm" style={{ overflow: 'hidden' }}>
          <Table aria-label="Without a limit" horizontalSpacing="md">
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Without a limit</Table.Th>
                <Table.Th scope="col" ta="right">
                  Used
                </Table.Th>
                <Table.Th scope="col" w={72}>
                  <VisuallyHidden>Actions</VisuallyHidden>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {unlimited.map((quota) => (
                <Table.Tr key={`${limitName(quota)} ${quota.scope}`}>
                  <Table.Td>{limitName({ ...quota, scope: undefined })}</Table.Td>
                  <Table.Td ta="right" style={{ fontVariantNumeric: 'tabular-nums' }}>
                    {quota.meter === 'store.bytes' ? formatBytes(quota.used) : formatNumber(quota.used)}
                  </Table.Td>
                  <Table.Td>{actionsOf(quota)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Paper>
      )}
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
