import { Button, Code } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconKey, IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { CreateKey } from './create-key';
import { IssuedKey, type Issued } from './issued-key';
import { KeyStatus, Scopes, type Key } from './key-status';

const COLUMNS: Column<Key>[] = [
  { header: 'Name', render: ({ name }) => name },
  { header: 'Key', render: ({ hint }) => <Code>{hint}…</Code>, onPhone: false },
  { header: 'Scopes', render: (key) => <Scopes {...key} />, onPhone: false },
  { header: 'Status', render: (key) => <KeyStatus {...key} /> },
  { header: 'Expires', render: ({ expiresAt }) => <Time at={expiresAt} as="day" />, onPhone: false },
  { header: 'Last used', render: ({ lastUsedAt }) => <Time at={lastUsedAt} as="relative" /> },
];

/** The keys of the user. */
export default function Keys() {
  const [isOpen, { open, close }] = useDisclosure();
  const [issued, setIssued] = useState<Issued | null>(null);
  const pages = usePages(['keys', 'me'], ({ cursor, signal }) =>
    answer(api.GET('/v1/keys', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader
        title="API keys"
        description="A program sends a key with each call. The call counts for you, and within the limits of the key."
        actions={
          <Button leftSection={<IconPlus size={16} />} onClick={open}>
            Create a key
          </Button>
        }
      />
      <DataTable
        label="API keys"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ id }) => id}
        rowLink={({ id }) => ({ to: '/keys/$id', params: { id } })}
        empty={
          <EmptyState icon={IconKey} title="No key yet">
            Create one to call the APIs of this platform from a program.
          </EmptyState>
        }
      />
      <CreateKey
        opened={isOpen}
        onClose={close}
        onIssued={(key) => {
          close();
          setIssued(key);
        }}
      />
      <IssuedKey issued={issued} onDone={() => setIssued(null)} />
    </>
  );
}
