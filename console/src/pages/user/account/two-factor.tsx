import { Badge, Button, Group, Modal, PasswordInput, Skeleton, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { lazy, Suspense, useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { CopyField } from '../../../components/copy-field';
import { FormActions } from '../../../components/form-actions';
import { formatNumber } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { RecoveryCodes } from './recovery-codes';
import { Section } from './section';
import { SECURITY, useSecurity } from './use-security';

const QrCode = lazy(() => import('./qr-code'));

type Secret = components['schemas']['TotpSecretResponse'];

const STALE = [SECURITY, ['sessions']];

const TITLES = {
  enable: 'Turn on two-factor sign-in',
  renew: 'New recovery codes',
  disable: 'Turn off two-factor sign-in',
};

/** Two-factor sign-in: turns it on and off, and makes recovery codes. */
export function TwoFactor() {
  const { data, error, refetch, isPending } = useSecurity();
  const [dialog, setDialog] = useState<keyof typeof TITLES>();
  const [codes, setCodes] = useState<string[]>();
  const close = (): void => {
    setDialog(undefined);
    setCodes(undefined);
  };
  const isOn = typeof data?.totpEnabledAt === 'string';
  return (
    <Section
      title="Two-factor sign-in"
      description="Besides the password, signing in then needs a code of an authenticator app."
      actions={
        data !== undefined &&
        (isOn ? (
          <>
            <Button variant="default" onClick={() => setDialog('renew')}>
              New recovery codes
            </Button>
            <Button variant="light" color="red" onClick={() => setDialog('disable')}>
              Turn off
            </Button>
          </>
        ) : (
          <Button variant="default" onClick={() => setDialog('enable')}>
            Turn on
          </Button>
        ))
      }
    >
      {isPending && <Skeleton height={22} w={260} />}
      <ProblemAlert error={error} onRetry={() => refetch()} />
      {data !== undefined && (
        <Group gap="sm">
          <Badge color={isOn ? 'green' : 'gray'}>{isOn ? 'On' : 'Off'}</Badge>
          {isOn && (
            <Text size="sm">
              since <Time at={data.totpEnabledAt} as="day" />, {formatNumber(data.recoveryCodesLeft)} recovery codes
              left
            </Text>
          )}
        </Group>
      )}
      <Modal
        opened={dialog !== undefined}
        onClose={close}
        title={dialog && TITLES[dialog]}
        closeOnClickOutside={false}
        // The codes are shown only once.
        withCloseButton={codes === undefined}
        closeOnEscape={codes === undefined}
      >
        {codes !== undefined && <RecoveryCodes codes={codes} onDone={close} />}
        {codes === undefined && dialog === 'enable' && <Enable onCodes={setCodes} onCancel={close} />}
        {codes === undefined && dialog === 'renew' && <Renew onCodes={setCodes} onCancel={close} />}
        {codes === undefined && dialog === 'disable' && <Disable onDone={close} />}
      </Modal>
    </Section>
  );
}

interface GivesCodes {
  onCodes: (codes: string[]) => void;
  onCancel: () => void;
}

function Enable({ onCodes, onCancel }: GivesCodes) {
  const [secret, setSecret] = useState<Secret>();
  const form = useForm({ mode: 'uncontrolled', initialValues: { password: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values) => answer(api.POST('/v1/auth/totp', { body })),
    form,
    onSuccess: setSecret,
  });
  if (secret !== undefined) return <Confirm secret={secret} onCodes={onCodes} onCancel={onCancel} />;
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <PasswordInput
          label="Password"
          autoComplete="current-password"
          required
          withAsterisk={false}
          data-autofocus
          key={form.key('password')}
          {...form.getInputProps('password')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onCancel} isPending={isPending}>
          Continue
        </FormActions>
      </Stack>
    </form>
  );
}

function Confirm({ secret, onCodes, onCancel }: GivesCodes & { secret: Secret }) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { code: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: typeof form.values) => answer(api.POST('/v1/auth/totp/confirm', { body })),
    success: 'Two-factor sign-in is on. All other sessions have ended.',
    form,
    invalidates: STALE,
    onSuccess: ({ recoveryCodes }) => onCodes(recoveryCodes),
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <Text size="sm">Scan the code with an authenticator app, or enter the secret there.</Text>
        <Group justify="center" mih={200}>
          <Suspense fallback={<Skeleton height={200} width={200} />}>
            <QrCode text={secret.uri} label="QR code for the authenticator app" />
          </Suspense>
        </Group>
        <CopyField label="Secret" value={secret.secret} />
        <TextInput
          label="Code"
          description="The six digits that the app shows now."
          autoComplete="one-time-code"
          inputMode="numeric"
          required
          withAsterisk={false}
          maxLength={64}
          key={form.key('code')}
          {...form.getInputProps('code')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onCancel} isPending={isPending}>
          Turn on
        </FormActions>
      </Stack>
    </form>
  );
}

interface PasswordAndCode {
  password: string;
  code: string;
}

function Renew({ onCodes, onCancel }: GivesCodes) {
  return (
    <PasswordAndCodeForm
      text="The earlier recovery codes become invalid."
      verb="Make new codes"
      success="The recovery codes are replaced"
      send={(body) => answer(api.POST('/v1/auth/totp/recovery-codes', { body }))}
      onSuccess={({ recoveryCodes }) => onCodes(recoveryCodes)}
      onCancel={onCancel}
    />
  );
}

function Disable({ onDone }: { onDone: () => void }) {
  return (
    <PasswordAndCodeForm
      text="Signing in then needs only the password. The recovery codes become invalid."
      verb="Turn off"
      success="Two-factor sign-in is off"
      send={(body) => answer(api.POST('/v1/auth/totp/disable', { body }))}
      onSuccess={onDone}
      onCancel={onDone}
    />
  );
}

interface PasswordAndCodeFormProps<T> {
  text: string;
  verb: string;
  success: string;
  send: (body: PasswordAndCode) => Promise<T>;
  onSuccess: (result: T) => void;
  onCancel: () => void;
}

function PasswordAndCodeForm<T>({ text, verb, success, send, onSuccess, onCancel }: PasswordAndCodeFormProps<T>) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { password: '', code: '' } });
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (body: PasswordAndCode) => send(body),
    success,
    form,
    invalidates: STALE,
    onSuccess,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <Text size="sm">{text}</Text>
        <PasswordInput
          label="Password"
          autoComplete="current-password"
          required
          withAsterisk={false}
          data-autofocus
          key={form.key('password')}
          {...form.getInputProps('password')}
        />
        <TextInput
          label="Code"
          description="Of the authenticator app, or a recovery code."
          autoComplete="one-time-code"
          required
          withAsterisk={false}
          maxLength={64}
          key={form.key('code')}
          {...form.getInputProps('code')}
        />
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onCancel} isPending={isPending}>
          {verb}
        </FormActions>
      </Stack>
    </form>
  );
}
