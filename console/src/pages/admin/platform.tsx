import { Button, Card, Group, Select, Skeleton, Stack, Switch, Title } from '@mantine/core';
import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { answer, tagged, type Tagged } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { Conflicts } from '../../components/conflicts';
import { LimitBar } from '../../components/limit-bar';
import { AmountInput } from '../../components/limit-fields';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { QuotaPanel } from '../../components/quota-panel';
import { useEdit } from '../../components/use-edit';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { PlanSelect } from './users/plan-select';

type Settings = components['schemas']['PlatformResponse'];

/** Settings of the platform, and the limits on all users together. */
export default function Platform() {
  const query = useQuery({
    queryKey: ['platform', 'tagged'],
    queryFn: ({ signal }) => tagged(api.GET('/v1/platform', { signal })),
  });
  return (
    <>
      <PageHeader title="Platform" description="Settings, and the limits on all users together." />
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      <Stack gap="xl">
        <Card maw={760}>
          {query.data === undefined ? <Skeleton height={560} /> : <SettingsForm query={query} loaded={query.data} />}
        </Card>
        <QuotaPanel
          title="Quotas of the platform"
          queryKey={['quotas', 'platform']}
          list={(signal) => answer(api.GET('/v1/platform/quotas', { signal }))}
          set={({ meter, window, limit }) =>
            answer(api.PUT('/v1/platform/quotas/{meter}', { params: { path: { meter } }, body: { window, limit } }))
          }
          unset={(meter, window) =>
            api.DELETE('/v1/platform/quotas/{meter}', { params: { path: { meter }, query: { window } } })
          }
          scope="platform"
          afterRemoval="Users are then bound by their own limits only."
          empty="Nothing limits all users together. A quota on api:* bounds what the platform serves."
        />
      </Stack>
    </>
  );
}

interface SettingsFormProps {
  query: UseQueryResult<Tagged<Settings>>;
  loaded: Tagged<Settings>;
}

function SettingsForm({ query, loaded }: SettingsFormProps) {
  const metrics = useQuery({
    queryKey: ['metrics', 'platform'],
    queryFn: ({ signal }) => answer(api.GET('/v1/metrics', { signal })),
  });
  const edit = useEdit({
    query,
    loaded,
    toValues: ({ registration, totalObjects, creditOverprovisioning, defaultPlan, selfDeletion }: Settings) => ({
      ...{ registration, totalObjects, creditOverprovisioning, defaultPlan, selfDeletion },
    }),
  });
  const { form } = edit;
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: () => {
      const body = edit.changes();
      return edit.save((etag) =>
        tagged(api.PATCH('/v1/platform', { params: { header: etag === undefined ? {} : { 'If-Match': etag } }, body })),
      );
    },
    success: 'Saved',
    invalidates: [['platform'], ['audit']],
    form,
  });
  const { totalObjects } = loaded.value;
  const used = metrics.data?.objects.total;
  return (
    <form onSubmit={form.onSubmit(() => mutate())}>
      <Stack>
        <Title order={2} size="h4">
          Settings
        </Title>
        <Select
          label="Registration"
          data={[
            { value: 'open', label: 'Open: anyone can create an account' },
            { value: 'closed', label: 'Closed: only administrators create accounts' },
          ]}
          allowDeselect={false}
          {...form.getInputProps('registration')}
        />
        <PlanSelect
          label="Default plan"
          description="For new users without a plan of their own."
          {...form.getInputProps('defaultPlan')}
        />
        <AmountInput
          meter="objects"
          label="Total objects"
          description="Bounds users, tasks, resources and store entries together."
          value={form.getValues().totalObjects}
          onChange={(amount) => form.setFieldValue('totalObjects', amount)}
          error={form.errors.totalObjects as string | undefined}
        />
        {totalObjects !== null && used !== undefined && (
          <LimitBar
            label="Objects now"
            quota={{
              limit: totalObjects,
              used,
              remaining: Math.max(totalObjects - used, 0),
              resetsAt: null,
            }}
          />
        )}
        <Switch
          label="Credit overprovisioning"
          description="Lets the sum of all users’ credits exceed the total of objects. The bound then applies when something is created."
          {...form.getInputProps('creditOverprovisioning', { type: 'checkbox' })}
        />
        <Switch
          label="Users may delete their own account"
          description="With their password, on the page Account. All they own is deleted with it; recorded usage stays."
          {...form.getInputProps('selfDeletion', { type: 'checkbox' })}
        />
        <Conflicts edit={edit} />
        {edit.conflicts.length === 0 && <ProblemAlert error={error} showsFields={false} />}
        <Group justify="flex-end">
          <Button type="submit" loading={isPending} disabled={!edit.hasChanges}>
            Save
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
