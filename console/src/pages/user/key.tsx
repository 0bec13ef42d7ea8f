import { Button, Card, Code, SimpleGrid, Skeleton, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { useUser } from '../../api/use-user';
import { CallsChart } from '../../components/calls-chart';
import { confirmDelete } from '../../components/confirm-delete';
import { CopyText } from '../../components/copy-text';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { EditKey } from './key/edit-key';
import { KeyLimits } from './key/limits';
import { RotateKey } from './key/rotate-key';
import { IssuedKey, type Issued } from './issued-key';
import { KeyStatus, Scopes } from './key-status';

/** One API key: what it may do, how much of its limits it has used, and everything that can be done with it. */
export default function KeyPage() {
  const { id = '' }: { id?: string } = useParams({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({
    queryKey: ['keys', id],
    queryFn: ({ signal }) => answer(api.GET('/v1/keys/{id}', { params: { path: { id } }, signal })),
  });
  const [issued, setIssued] = useState<Issued | null>(null);
  const [dialog, setDialog] = useState<'edit' | 'rotate'>();
  const toggle = useMutationWithNotice({
    mutationFn: (disabled: boolean) =>
      answer(api.PATCH('/v1/keys/{id}', { params: { path: { id } }, body: { disabled } })),
    success: ({ disabled }) => (disabled ? 'The key is disabled' : 'The key is enabled'),
    invalidates: [['keys']],
  });
  const key = query.data;
  const user = useUser();
  const isOwn = key === undefined || key.owner === user.id;
  const close = (): void => setDialog(undefined);
  const revoke = (): void =>
    confirmDelete({
      verb: 'Revoke',
      what: `the key “${key?.name ?? ''}”`,
      loses: ['Programs that use the key are refused from their next call on.', 'Its limits'],
      onConfirm: async () => {
        await answer(api.DELETE('/v1/keys/{id}', { params: { path: { id } } }));
        await navigate(
          isOwn ? { to: '/keys' } : { to: '/users/$user', params: { user: key.owner }, search: { tab: 'keys' } },
        );
      },
    });

  return (
    <>
      <PageHeader
        title={key?.name ?? 'API key'}
        parent={
          isOwn
            ? { label: 'API keys', link: { to: '/keys' } }
            : {
                label: 'API keys of the user',
                link: { to: '/users/$user', params: { user: key.owner }, search: { tab: 'keys' } },
              }
        }
        description={key && <Code>{key.hint}…</Code>}
        actions={
          key && (
            <>
              <Button variant="default" onClick={() => setDialog('edit')}>
                Edit
              </Button>
              <Button variant="default" onClick={() => setDialog('rotate')}>
                Rotate
              </Button>
              <Button variant="default" loading={toggle.isPending} onClick={() => toggle.mutate(!key.disabled)}>
                {key.disabled ? 'Enable' : 'Disable'}
              </Button>
              <Button color="red" variant="light" onClick={revoke}>
                Revoke
              </Button>
            </>
          )
        }
      />
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      {query.isPending && <Skeleton height={120} />}
      {key && (
        <Stack gap="lg">
          <Card>
            <SimpleGrid cols={{ base: 2, sm: 3, lg: 5 }} mb="md">
              <Fact label="Status">
                <KeyStatus {...key} />
              </Fact>
              <Fact label="Scopes">
                <Scopes {...key} />
              </Fact>
              <Fact label="Last used">
                <Time at={key.lastUsedAt} as="relative" />
              </Fact>
              <Fact label="Expires">
                <Time at={key.expiresAt} />
              </Fact>
              <Fact label="Created">
                <Time at={key.createdAt} as="day" />
              </Fact>
            </SimpleGrid>
            <Fact label="Id">
              <CopyText label="the id" value={key.id} />
            </Fact>
          </Card>
          <KeyLimits
            keyId={id}
            limits={key.limits}
            rule={
              user.role === 'admin'
                ? 'They apply besides the limits of the user.'
                : 'They apply besides your own limits. You can lower them; only administrators can raise or remove them.'
            }
          />
          <CallsChart label="Calls with this key" of={{ key: id }} />
        </Stack>
      )}
      {key && (
        <>
          <EditKey current={key} onClose={close} opened={dialog === 'edit'} />
          <RotateKey
            current={key}
            opened={dialog === 'rotate'}
            onClose={close}
            onIssued={(made) => {
              setDialog(undefined);
              setIssued(made);
            }}
          />
        </>
      )}
      <IssuedKey issued={issued} onDone={() => setIssued(null)} />
    </>
  );
}

function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div>
      <Text size="xs" c="dimmed" mb={4}>
        {label}
      </Text>
      <Text size="sm" component="div">
        {children}
      </Text>
    </div>
  );
}
