import { Anchor, Button, Card, Checkbox, Grid, Group, Text, TextInput } from '@mantine/core';
import { useDebouncedCallback, useDisclosure } from '@mantine/hooks';
import { IconDatabase, IconFileExport, IconFileImport, IconPlus } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import type { StoreText } from '../../api/store-text';
import { usePages } from '../../api/use-pages';
import { confirmDelete } from '../../components/confirm-delete';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { formatNumber, Num } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { StoreEntry, type Opened } from './store-entry';
import { StoreExport } from './store-export';
import { StoreImport } from './store-import';
import { deleteEntries, listEntries } from './store-requests';
import { StoreTree } from './store-tree';

/** Characters of a value in the table. */
const PREVIEW = 120;

/** The user's JSON key-value store. */
export default function StorePage() {
  const { prefix = '' } = useSearch({ from: '/shell/store' });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [opened, setOpened] = useState<Opened>();
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [isImporting, importing] = useDisclosure();
  const [isExporting, exporting] = useDisclosure();
  const pages = usePages(['store', 'me', 'list', prefix], (page) => listEntries({ prefix, ...page }));
  const { rows } = pages;

  const openPrefix = (to: string, replace = false): void => {
    setSelected(new Set());
    void navigate({ to: '/store', search: to === '' ? {} : { prefix: to }, replace });
  };
  const toggle = (key: string): void =>
    setSelected((before) => {
      const after = new Set(before);
      if (!after.delete(key)) after.add(key);
      return after;
    });
  const deleteSelected = (): void => {
    const keys = [...selected];
    const what = keys.length === 1 ? `the entry “${keys[0] ?? ''}”` : `${formatNumber(keys.length)} entries`;
    confirmDelete({
      what,
      onConfirm: async () => {
        await deleteEntries(keys);
        setSelected(new Set());
        await queries.invalidateQueries({ queryKey: ['store', 'me'] });
      },
    });
  };

  const columns: Column<StoreText>[] = [
    {
      header: 'Select',
      hidesHeader: true,
      width: 40,
      render: ({ key }) => (
        <Checkbox aria-label={`Select ${key}`} checked={selected.has(key)} onChange={() => toggle(key)} />
      ),
    },
    {
      header: 'Key',
      render: (entry) => (
        <Anchor
          component="button"
          type="button"
          ta="left"
          size="sm"
          style={{ overflowWrap: 'anywhere' }}
          onClick={() => setOpened(entry)}
        >
          {entry.key}
        </Anchor>
      ),
    },
    {
      header: 'Value',
      onPhone: false,
      render: ({ value = '' }) => (
        <Text size="sm" ff="monospace" lineClamp={1} maw={360} style={{ overflowWrap: 'anywhere' }}>
          {value.slice(0, PREVIEW)}
        </Text>
      ),
    },
    { header: 'Version', align: 'right', onPhone: false, render: ({ version }) => <Num value={version} /> },
    { header: 'Expires', render: ({ expiresAt }) => <Time at={expiresAt} as="relative" /> },
  ];

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
          <Group justify="space-between" align="flex-end" mb="sm" mih={60}>
            <PrefixInput prefix={prefix} onChange={(to) => openPrefix(to, true)} />
            <Group gap="sm" mih={36}>
              {rows.length > 0 && (
                <Checkbox
                  label="Select all shown"
                  checked={selected.size > 0 && selected.size === rows.length}
                  indeterminate={selected.size > 0 && selected.size < rows.length}
                  onChange={(event) =>
                    setSelected(new Set(event.currentTarget.checked ? rows.map(({ key }) => key) : []))
                  }
                />
              )}
              {selected.size > 0 && (
                <Button color="red" variant="light" onClick={deleteSelected}>
                  Delete {formatNumber(selected.size)}
                </Button>
              )}
            </Group>
          </Group>
          <DataTable
            label="Entries"
            columns={columns}
            pages={pages}
            rowKey={({ key }) => key}
            empty={
              <EmptyState icon={IconDatabase} title={prefix === '' ? 'The store is empty' : 'No key begins with this'}>
                {prefix === '' ? 'Make an entry, or import a file.' : 'Choose another prefix, or make an entry.'}
              </EmptyState>
            }
          />
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
      flex={1}
      maw={420}
    />
  );
}
