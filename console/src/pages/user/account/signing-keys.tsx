import {
  Alert,
  Button,
  Checkbox,
  Code,
  Group,
  Modal,
  SegmentedControl,
  Stack,
  Text,
  Textarea,
  TextInput,
} from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconAlertTriangle, IconDownload, IconSignature } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { confirmDelete } from '../../../components/confirm-delete';
import { CopyField } from '../../../components/copy-field';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { FormActions } from '../../../components/form-actions';
import { ProblemAlert } from '../../../components/problem-alert';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { download } from '../download';
import { canGenerate, generateKeyPair } from './key-pair';
import { Section } from './section';
import { SECURITY } from './use-security';

type SigningKey = components['schemas']['SigningKeyResponse'];

/** A registered key, and its private key if this browser has made it. */
interface Made {
  id: string;
  name: string;
  privateKey: string;
}

/** Keys with which programs of the user sign requests. */
export function SigningKeys() {
  const [isOpen, { open, close }] = useDisclosure();
  const [made, setMade] = useState<Made>();
  const queries = useQueryClient();
  const pages = usePages(['signing-keys'], ({ cursor, signal }) =>
    answer(api.GET('/v1/auth/signing-keys', { params: { query: { cursor } }, signal })),
  );
  const remove = ({ id, name }: SigningKey): void =>
    confirmDelete({
      what: `the signing key “${name}”`,
      loses: ['Requests signed with it are refused at once.'],
      onConfirm: async () => {
        await answer(api.DELETE('/v1/auth/signing-keys/{id}', { params: { path: { id } } }));
        await Promise.all([['signing-keys'], SECURITY].map((queryKey) => queries.invalidateQueries({ queryKey })));
      },
    });
  const columns: Column<SigningKey>[] = [
    { header: 'Name', render: ({ name }) => <span style={{ overflowWrap: 'anywhere' }}>{name}</span> },
    { header: 'Id (keyid)', render: ({ id }) => <Code>{id}</Code>, onPhone: false },
    { header: 'Added', render: ({ createdAt }) => <Time at={createdAt} as="day" /> },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      render: (key) => (
        <Button size="xs" variant="default" aria-label={`Delete ${key.name}`} onClick={() => remove(key)}>
          Delete
        </Button>
      ),
    },
  ];
  return (
    <Section
      title="Signing keys"
      description="A program signs its requests with an Ed25519 key (RFC 9421) and acts as you, without a password or token."
      actions={
        <Button variant="default" onClick={open}>
          Add a key
        </Button>
      }
    >
      <DataTable
        label="Your signing keys"
        columns={columns}
        pages={pages}
        rowKey={({ id }) => id}
        empty={
          <EmptyState icon={IconSignature} title="No signing key">
            Add one for a program that should not hold your password.
          </EmptyState>
        }
      />
      <Modal
        opened={isOpen}
        onClose={close}
        title="Add a signing key"
        closeOnClickOutside={false}
        // The private key is shown only once.
        withCloseButton={made === undefined}
        closeOnEscape={made === undefined}
      >
        {made === undefined ? (
          <AddKey
            onCancel={close}
            onMade={(key) => {
              if (key === undefined) close();
              else setMade(key);
            }}
          />
        ) : (
          <PrivateKey
            made={made}
            onDone={() => {
              close();
              setMade(undefined);
            }}
          />
        )}
      </Modal>
    </Section>
  );
}

function AddKey({ onMade, onCancel }: { onMade: (made: Made | undefined) => void; onCancel: () => void }) {
  const form = useForm({
    initialValues: { name: '', publicKey: '', source: canGenerate ? 'generate' : 'paste' },
  });
  const isGenerated = form.values.source === 'generate';
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: async ({ name, publicKey: pasted }: typeof form.values, { idempotencyKey }) => {
      const pair = isGenerated ? await generateKeyPair() : undefined;
      const { id } = await answer(
        api.POST('/v1/auth/signing-keys', {
          body: { name, publicKey: pair?.publicKey ?? pasted },
          params: { header: { 'Idempotency-Key': idempotencyKey } },
        }),
      );
      return pair && { id, name, privateKey: pair.privateKey };
    },
    success: 'The signing key is added',
    form,
    invalidates: [['signing-keys'], SECURITY],
    onSuccess: onMade,
  });
  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        <TextInput
          label="Name"
          description="Says which program signs with it."
          maxLength={100}
          required
          withAsterisk={false}
          data-autofocus
          {...form.getInputProps('name')}
        />
        {canGenerate && (
          <SegmentedControl
            aria-label="Where the key comes from"
            data={[
              { value: 'generate', label: 'Generate it here' },
              { value: 'paste', label: 'I have a key' },
            ]}
            {...form.getInputProps('source')}
          />
        )}
        {isGenerated ? (
          <Text size="sm" c="dimmed">
            The browser makes the key pair. Only the public key is sent to the server.
          </Text>
        ) : (
          <Textarea
            label="Public key"
            description="Ed25519, as PEM, JWK or base64."
            autosize
            minRows={3}
            required
            withAsterisk={false}
            spellCheck={false}
            {...form.getInputProps('publicKey')}
          />
        )}
        <ProblemAlert error={error} showsFields={false} />
        <FormActions onCancel={onCancel} isPending={isPending}>
          Add
        </FormActions>
      </Stack>
    </form>
  );
}

function PrivateKey({ made, onDone }: { made: Made; onDone: () => void }) {
  const [stored, setStored] = useState(false);
  return (
    <Stack>
      <Alert color="orange" icon={<IconAlertTriangle />} title="Store the private key now">
        Only this browser has it, and only until this dialog closes. Anyone who has it can act as you.
      </Alert>
      <CopyField label="Id (keyid)" value={made.id} />
      <Group>
        <Button
          leftSection={<IconDownload size={16} />}
          onClick={() => download(`${made.id}.pem`, [made.privateKey], 'application/x-pem-file')}
        >
          Download the private key
        </Button>
      </Group>
      <Checkbox
        label="I have stored it"
        checked={stored}
        onChange={(event) => setStored(event.currentTarget.checked)}
      />
      <Group justify="flex-end">
        <Button disabled={!stored} onClick={onDone}>
          Done
        </Button>
      </Group>
    </Stack>
  );
}
