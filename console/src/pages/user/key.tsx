import {
  Alert,
  Button,
  Card,
  Code,
  Group,
  Modal,
  Select,
  SimpleGrid,
  Skeleton,
  Stack,
  Text,
  Title,
} from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { useUser } from '../../api/use-user';
import { CallsChart } from '../../components/calls-chart';
import { confirmDelete } from '../../components/confirm-delete';
import { LimitBar, limitName } from '../../components/limit-bar';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { IssuedKey, type Issued } from './issued-key';
import { keyBody, KeyFields, keyValues } from './key-fields';
import { KeyStatus, Scopes, type Key } from './key-status';
import { LimitFields, NEW_LIMIT, type LimitRows } from './limit-rows';
import { FormActions } from '../../components/form-actions';

/** For changes whose errors the page shows itself, and not field by field. */
const SHOWN_BELOW = { setErrors: () => undefined };

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
            <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }}>
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
              <Fact label="Id">
                <Code style={{ overflowWrap: 'anywhere' }}>{key.id}</Code>
              </Fact>
            </SimpleGrid>
          </Card>
          <Limits
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

function Limits({ keyId, limits, rule }: { keyId: string; limits: Key['limits']; rule: string }) {
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
    form: SHOWN_BELOW,
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

interface DialogProps {
  opened: boolean;
  onClose: () => void;
}

function EditKey({ current, opened, onClose }: DialogProps & { current: Key }) {
  return (
    <Modal opened={opened} onClose={onClose} title={`Edit the key “${current.name}”`}>
      <EditForm current={current} onClose={onClose} />
    </Modal>
  );
}

function EditForm({ current, onClose }: { current: Key; onClose: () => void }) {
  const form = useForm({ initialValues: keyValues(current) });
  const { mutate, isPending, error } = useMutationWithNotice({
    // Without If-Match: each call with the key changes its ETag. Only the changed fields are sent instead.
    mutationFn: (values: typeof form.values) =>
      answer(
        api.PATCH('/v1/keys/{id}', { params: { path: { id: current.id } }, body: changed(keyBody(values), current) }),
      ),
    success: 'The key is saved',
    form,
    invalidates: [['keys']],
    onSuccess: onClose,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <KeyFields form={form} />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onClose} isPending={isPending}>
          Save
        </FormActions>
      </Stack>
    </form>
  );
}

/** Returns the fields of `body` that differ from the key. */
function changed(body: ReturnType<typeof keyBody>, current: Key): Partial<ReturnType<typeof keyBody>> {
  const before = keyBody(keyValues(current));
  return Object.fromEntries(
    Object.entries(body).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name as keyof typeof before]),
    ),
  );
}

const GRACES = [
  { value: '0', label: 'becomes invalid at once' },
  { value: '3600', label: 'stays valid for an hour' },
  { value: '86400', label: 'stays valid for a day' },
  { value: '604800', label: 'stays valid for a week' },
  { value: '2592000', label: 'stays valid for 30 days' },
];

function RotateKey({
  current,
  opened,
  onClose,
  onIssued,
}: DialogProps & { current: Key; onIssued: (key: Issued) => void }) {
  const [grace, setGrace] = useState('86400');
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (graceSeconds: number, { idempotencyKey }) =>
      answer(
        api.POST('/v1/keys/{id}/rotate', {
          params: { path: { id: current.id }, header: { 'Idempotency-Key': idempotencyKey } },
          body: { graceSeconds },
        }),
      ),
    form: SHOWN_BELOW,
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
