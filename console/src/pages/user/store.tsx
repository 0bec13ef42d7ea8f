import { Button, Card, Grid, TextInput } from '@mantine/core';
import '@mantine/core/styles/Grid.css';
import { useDebouncedCallback, useDisclosure } from '@mantine/hooks';
import { IconFileExport, IconFileImport, IconPlus } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { PageHeader } from '../../components/page-header';
import { StoreEntries } from './store-entries';
import { StoreEntry, type Opened } from './store-entry';
import { StoreExport } from './store-export';
import { StoreImport } from './store-import';
import { StoreTree } from './store-tree';

/** The user's JSON key-value store. */
export default function StorePage() {
  const { prefix = '' } = useSearch({ from: '/shell/store' });
  const navigate = useNavigate();
  const [opened, setOpened] = useState<Opened>();
  const [isImporting, importing] = useDisclosure();
  const [isExporting, exporting] = useDisclosure();
  const openPrefix = (to: string, replace = false): void =>
    void navigate({ to: '/store', search: to === '' ? {} : { prefix: to }, replace });

  return (
    <>
      <PageHeader
        title="Store"
        description="Your JSON key-value store. What is written is what is read, digit for digit."
        actions={
          <>
            <Button variant="default" leftSection={<IconFileImport size={16} />} onClick={importing.open}>
              Import
            </Button>
            <Button variant="default" leftSection={<IconFileExport size={16} />} onClick={exporting.open}>
              Export
            </Button>
            <Button leftSection={<IconPlus size={16} />} onClick={() => setOpened({ newBelow: prefix })}>
              New entry
            </Button>
          </>
        }
      />
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, md: 3 }}>
          <Card padding="xs" mah="60vh" style={{ overflowY: 'auto' }}>
            <StoreTree current={prefix} onOpen={openPrefix} />
          </Card>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 9 }}>
          <PrefixInput prefix={prefix} onChange={(to) => openPrefix(to, true)} />
          <StoreEntries key={prefix} prefix={prefix} onOpen={setOpened} />
        </Grid.Col>
      </Grid>
      <StoreEntry opened={opened} onClose={() => setOpened(undefined)} />
      <StoreImport opened={isImporting} onClose={importing.close} />
      <StoreExport prefix={prefix} opened={isExporting} onClose={exporting.close} />
    </>
  );
}

/** The prefix as text; the list follows it while one types. */
function PrefixInput({ prefix, onChange }: { prefix: string; onChange: (prefix: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const sent = useRef(prefix);
  const follow = useDebouncedCallback((to: string) => {
    sent.current = to;
    onChange(to);
  }, 300);
  useEffect(() => {
    // The tree has set another prefix.
    if (input.current !== null && prefix !== sent.current) input.current.value = prefix;
    sent.current = prefix;
  }, [prefix]);
  return (
    <TextInput
      label="Keys that begin with"
      placeholder="any"
      ref={input}
      defaultValue={prefix}
      spellCheck={false}
      autoCapitalize="none"
      onChange={(event) => follow(event.currentTarget.value)}
      mb="sm"
      maw={420}
    />
  );
}
