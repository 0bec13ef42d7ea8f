import { Button, Card, Group, Skeleton, Stack, TextInput, Title } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';
import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { type ReactNode } from 'react';
import { tagged, type Tagged } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { CallsChart } from '../../components/calls-chart';
import { confirmDelete } from '../../components/confirm-delete';
import { Conflicts } from '../../components/conflicts';
import { CopyField } from '../../components/copy-field';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { useEdit } from '../../components/use-edit';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { ResponseFields, responseOf, type ApiResponseValues } from './apis/response-fields';
import { SERVER_URL } from '../../base-path';

type ApiEntry = components['schemas']['ApiResponse'];

/** One API of the catalogue: its calls over time, and what they get. */
export default function ApiPage(): ReactNode {
  const { slug = '' }: { slug?: string } = useParams({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({
    queryKey: ['apis', slug],
    queryFn: ({ signal }) => tagged(api.GET('/v1/apis/{slug}', { params: { path: { slug } }, signal })),
  });
  const deletion = useMutationWithNotice({
    mutationFn: () => api.DELETE('/v1/apis/{slug}', { params: { path: { slug } } }),
    success: 'API removed',
    invalidates: [
      ['apis', 'list'],
      ['apis', 'catalogue'],
    ],
    onSuccess: () => navigate({ to: '/apis', replace: true }),
  });
  return (
    <>
      <PageHeader
        parent={{ label: 'APIs', link: { to: '/apis' } }}
        title={query.data?.value.name ?? 'API'}
        description={`Calls to /call/${slug} spend units of the meter api:${slug}.`}
        actions={
          <Button
            variant="default"
            leftSection={<IconTrash size={16} />}
            onClick={() =>
              confirmDelete({
                what: `the API ${slug}`,
                loses: ['Calls to it are answered with 404', 'Limits on its meter have no effect'],
                typed: slug,
                onConfirm: () => deletion.mutateAsync(),
              })
            }
          >
            Delete
          </Button>
        }
      />
      <Stack>
        <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
        {query.error === null && (
          <>
            <CallsChart label="Calls of all users" of={{ meter: `api:${slug}` }} />
            <Card maw={760}>
              <CopyField
                label="Try it"
                value={`curl -H "X-API-Key: $KEY" ${SERVER_URL}/call/${slug}`}
                description="With an API key whose scopes cover this API."
              />
            </Card>
            <Card maw={760}>
              {query.data === undefined ? <Skeleton height={300} /> : <ApiForm query={query} loaded={query.data} />}
            </Card>
          </>
        )}
      </Stack>
    </>
  );
}

interface ApiFormProps {
  query: UseQueryResult<Tagged<ApiEntry>>;
  loaded: Tagged<ApiEntry>;
}

const toValues = ({ name, answer: text, upstream }: ApiEntry): ApiResponseValues & { name: string } => ({
  name,
  kind: upstream === null || upstream === undefined ? 'answer' : 'upstream',
  answer: text ?? '',
  upstream: upstream ?? '',
});

function ApiForm({ query, loaded }: ApiFormProps) {
  const edit = useEdit({ query, loaded, toValues });
  const { form } = edit;
  const { slug } = loaded.value;
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: () => {
      const values = form.getValues();
      return edit.save((etag) =>
        tagged(
          api.PATCH('/v1/apis/{slug}', {
            params: { path: { slug }, header: etag === undefined ? {} : { 'If-Match': etag } },
            body: { name: values.name, ...responseOf(values) },
          }),
        ),
      );
    },
    success: 'Saved',
    invalidates: [['apis']],
    form,
  });
  return (
    <form onSubmit={form.onSubmit(() => mutate())}>
      <Stack>
        <Title order={2} size="h4">
          Response
        </Title>
        <TextInput label="Name" {...form.getInputProps('name')} />
        <ResponseFields values={form.getValues()} onChange={(part) => form.setValues(part)} errors={form.errors} />
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
