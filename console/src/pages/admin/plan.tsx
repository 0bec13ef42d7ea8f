import { ActionIcon, Button, Card, Group, Modal, Skeleton, Stack, Table, Text, TextInput, Title } from '@mantine/core';
import { IconPencil, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { Link, useNavigate, useParams } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { tagged, type Tagged } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { confirmDelete } from '../../components/confirm-delete';
import { Conflicts } from '../../components/conflicts';
import { limitName } from '../../components/limit-bar';
import { LimitFields, type LimitDto } from '../../components/limit-fields';
import { formatBytes, Num } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { useEdit } from '../../components/use-edit';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';

type Plan = components['schemas']['PlanResponse'];

/** One plan: its name and its limits. */
export default function PlanPage(): ReactNode {
  const { slug = '' }: { slug?: string } = useParams({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({
    queryKey: ['plans', slug],
    queryFn: ({ signal }) => tagged(api.GET('/v1/plans/{slug}', { params: { path: { slug } }, signal })),
  });
  const deletion = useMutationWithNotice({
    mutationFn: () => api.DELETE('/v1/plans/{slug}', { params: { path: { slug } } }),
    success: 'Plan deleted',
    invalidates: [
      ['plans', 'list'],
      ['plans', 'first'],
    ],
    onSuccess: () => navigate({ to: '/plans', replace: true }),
  });
  const plan = query.data?.value;
  return (
    <>
      <PageHeader
        parent={{ label: 'Plans', link: { to: '/plans' } }}
        title={plan?.name ?? 'Plan'}
        description={`Limits of each user with the plan ${slug}. A change applies from the next request.`}
        actions={
          <>
            <Button variant="default" renderRoot={(props) => <Link {...props} to="/users" search={{ plan: slug }} />}>
              Its users
            </Button>
            <Button
              variant="default"
              leftSection={<IconTrash size={16} />}
              onClick={() =>
                confirmDelete({
                  what: `the plan ${slug}`,
                  note: 'A plan that users have cannot be deleted. This cannot be undone.',
                  onConfirm: () => deletion.mutateAsync(),
                })
              }
            >
              Delete
            </Button>
          </>
        }
      />
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      {query.isPending && <Skeleton height={320} radius="md" maw={760} />}
      {query.data !== undefined && <PlanForm query={query} loaded={query.data} />}
    </>
  );
}

const NEW: LimitDto = { meter: 'api:*', window: 'month', limit: 1_000 };

interface PlanFormProps {
  query: UseQueryResult<Tagged<Plan>>;
  loaded: Tagged<Plan>;
}

function PlanForm({ query, loaded }: PlanFormProps) {
  const navigate = useNavigate();
  const edit = useEdit({ query, loaded, toValues: ({ name, slug, limits }) => ({ name, slug, limits }) });
  const { form } = edit;
  const { limits } = form.getValues();
  const [edited, setEdited] = useState<{ index: number; limit: LimitDto }>();
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: () => {
      const body = edit.changes();
      const { slug } = loaded.value;
      return edit.save((etag) =>
        tagged(
          api.PATCH('/v1/plans/{slug}', {
            params: { path: { slug }, header: etag === undefined ? {} : { 'If-Match': etag } },
            body,
          }),
        ),
      );
    },
    success: 'Saved',
    invalidates: [['plans'], ['quotas'], ['users']],
    form,
    onSuccess: ({ slug }) =>
      slug === loaded.value.slug ? undefined : navigate({ to: '/plans/$slug', params: { slug }, replace: true }),
  });
  const setLimits = (next: LimitDto[]): void => form.setFieldValue('limits', next);
  const finish = (limit: LimitDto): void => {
    // One limit for each meter and window: the newest replaces the others.
    const rest = limits.filter(
      (each, index) => index !== edited?.index && (each.meter !== limit.meter || each.window !== limit.window),
    );
    setLimits([...rest, limit].sort((a, b) => limitName(a).localeCompare(limitName(b))));
    setEdited(undefined);
  };
  const faults = Object.entries(form.errors).filter(([field]) => field.startsWith('limits'));

  return (
    <form onSubmit={form.onSubmit(() => mutate())}>
      <Stack maw={760}>
        <Card>
          <Group grow align="flex-start">
            <TextInput label="Name" {...form.getInputProps('name')} />
            <TextInput label="Slug" autoCapitalize="none" spellCheck={false} {...form.getInputProps('slug')} />
          </Group>
        </Card>
        <Card>
          <Group justify="space-between" mb="sm">
            <Title order={2} size="h4">
              Limits
            </Title>
            <Button
              size="xs"
              variant="default"
              leftSection={<IconPlus size={14} />}
              onClick={() => setEdited({ index: -1, limit: NEW })}
            >
              Add a limit
            </Button>
          </Group>
          {limits.length === 0 ? (
            <Text size="sm" c="dimmed">
              No limits: users of this plan have only their own quotas and those of the platform.
            </Text>
          ) : (
            <Table aria-label="Limits">
              <Table.Tbody>
                {limits.map((limit, index) => {
                  const name = limitName(limit);
                  return (
                    <Table.Tr key={name}>
                      <Table.Th scope="row" fw={500} style={{ overflowWrap: 'anywhere' }}>
                        {name}
                      </Table.Th>
                      <Table.Td ta="right">
                        {limit.meter === 'store.bytes' && limit.limit !== null ? (
                          formatBytes(limit.limit)
                        ) : (
                          <Num value={limit.limit} />
                        )}
                      </Table.Td>
                      <Table.Td w={84}>
                        <Group gap={4} justify="flex-end" wrap="nowrap">
                          <ActionIcon
                            variant="subtle"
                            color="gray"
                            aria-label={`Change the limit ${name}`}
                            onClick={() => setEdited({ index, limit })}
                          >
                            <IconPencil size={16} stroke={1.6} />
                          </ActionIcon>
                          <ActionIcon
                            variant="subtle"
                            color="gray"
                            aria-label={`Remove the limit ${name}`}
                            onClick={() => setLimits(limits.filter((each) => each !== limit))}
                          >
                            <IconTrash size={16} stroke={1.6} />
                          </ActionIcon>
                        </Group>
                      </Table.Td>
                    </Table.Tr>
                  );
                })}
              </Table.Tbody>
            </Table>
          )}
          {faults.map(([field, fault]) => (
            <Text key={field} size="sm" c="var(--mantine-color-error)" role="alert" mt="xs">
              {field}: {fault}
            </Text>
          ))}
        </Card>
        <Conflicts edit={edit} />
        {edit.conflicts.length === 0 && <ProblemAlert error={error} showsFields={false} />}
        <Group justify="flex-end" gap="xs">
          {edit.hasChanges && (
            <Text size="sm" c="dimmed">
              Changes are not saved yet.
            </Text>
          )}
          <Button type="submit" loading={isPending} disabled={!edit.hasChanges}>
            Save
          </Button>
        </Group>
      </Stack>
      <Modal
        opened={edited !== undefined}
        onClose={() => setEdited(undefined)}
        title={edited?.index === -1 ? 'Add a limit' : 'Change a limit'}
      >
        {edited !== undefined && (
          <Stack>
            <LimitFields value={edited.limit} onChange={(limit) => setEdited({ ...edited, limit })} />
            <Group justify="flex-end" gap="xs">
              <Button variant="default" onClick={() => setEdited(undefined)}>
                Cancel
              </Button>
              <Button onClick={() => finish(edited.limit)}>Done</Button>
            </Group>
          </Stack>
        )}
      </Modal>
    </form>
  );
}
