import { Anchor, Button, Checkbox, Group, Text } from '@mantine/core';
import { IconDatabase } from '@tabler/icons-react';
import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query';
import { useMemo, useState, useSyncExternalStore } from 'react';
import { Store, useStore } from '../../api/store';
import type { StoreText } from '../../api/store-text';
import { confirmDelete } from '../../components/confirm-delete';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { formatNumber, Num } from '../../components/num';
import { rowsOf } from '../../components/rows-of';
import { Time } from '../../components/time';
import { deleteEntries, listEntries } from './store-requests';

/** Entries of a page. */
const PAGE = 50;

/** Characters of a value in the table. */
const PREVIEW = 120;

interface StoreEntriesProps {
  prefix: string;
  onOpen: (entry: StoreText) => void;
}

type Selection = Store<ReadonlySet<string>>;

function select(selection: Selection, keys: string[], isSelected: boolean): void {
  const after = new Set(selection.get());
  for (const key of keys) {
    if (isSelected) after.add(key);
    else after.delete(key);
  }
  selection.set(after);
}

function SelectBox({ selection, name }: { selection: Selection; name: string }) {
  const isSelected = useSyncExternalStore(selection.subscribe, () => selection.get().has(name));
  return (
    <Checkbox
      aria-label={`Select ${name}`}
      checked={isSelected}
      onChange={(event) => select(selection, [name], event.currentTarget.checked)}
    />
  );
}

function columnsOf(selection: Selection, onOpen: (entry: StoreText) => void): Column<StoreText>[] {
  return [
    {
      header: 'Select',
      hidesHeader: true,
      width: 40,
      render: ({ key }) => <SelectBox selection={selection} name={key} />,
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
          onClick={() => onOpen(entry)}
        >
          {entry.key}
        </Anchor>
      ),
    },
    {
      header: 'Value',
      width: '45%',
      onPhone: false,
      render: ({ value = '' }) => (
        <Text size="xs" ff="monospace" lineClamp={1} style={{ overflowWrap: 'anywhere' }}>
          {value.slice(0, PREVIEW)}
        </Text>
      ),
    },
    { header: 'Version', align: 'right', onPhone: false, width: 90, render: ({ version }) => <Num value={version} /> },
    { header: 'Expires', width: 140, render: ({ expiresAt }) => <Time at={expiresAt} as="relative" /> },
  ];
}

/** The entries below a prefix, one page at a time, so that a store of any size stays smooth. */
export function StoreEntries({ prefix, onOpen }: StoreEntriesProps) {
  const queries = useQueryClient();
  // Outside of React's state: a row that is selected renders itself, and not the whole table.
  const [selection] = useState(() => new Store<ReadonlySet<string>>(new Set()));
  const selected = useStore(selection);
  /** The cursors of the pages up to this one. */
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors.at(-1);
  const list = useQuery({
    queryKey: ['store', 'me', 'list', prefix, cursor],
    queryFn: ({ signal }) => listEntries({ prefix, cursor, limit: PAGE, signal }),
    placeholderData: keepPreviousData,
  });
  const rows = list.data?.data ?? [];
  const nextCursor = list.data?.nextCursor ?? null;
  const shown = rows.filter(({ key }) => selected.has(key)).length;

  const deleteSelected = (): void => {
    const keys = [...selected];
    const what = keys.length === 1 ? `the entry “${keys[0] ?? ''}”` : `${formatNumber(keys.length)} entries`;
    confirmDelete({
      what,
      onConfirm: async () => {
        await deleteEntries(keys);
        selection.set(new Set());
        setCursors([]);
        await queries.invalidateQueries({ queryKey: ['store', 'me'] });
      },
    });
  };

  const columns = useMemo(() => columnsOf(selection, onOpen), [selection, onOpen]);

  return (
    <>
      <Group justify="space-between" mb="sm" mih={36}>
        {rows.length > 0 && (
          <Checkbox
            label="Select all shown"
            checked={shown === rows.length}
            indeterminate={shown > 0 && shown < rows.length}
            onChange={(event) =>
              select(
                selection,
                rows.map(({ key }) => key),
                event.currentTarget.checked,
              )
            }
          />
        )}
        {selected.size > 0 && (
          <Button color="red" variant="light" onClick={deleteSelected}>
            Delete {formatNumber(selected.size)}
          </Button>
        )}
      </Group>
      <DataTable
        label="Entries"
        columns={columns}
        pages={rowsOf(list)}
        rowKey={({ key }) => key}
        empty={
          <EmptyState icon={IconDatabase} title={prefix === '' ? 'The store is empty' : 'No key begins with this'}>
            {prefix === '' ? 'Make an entry, or import a file.' : 'Choose another prefix, or make an entry.'}
          </EmptyState>
        }
        footer={
          (cursors.length > 0 || nextCursor !== null) && (
            <Group gap="xs">
              <Button
                variant="default"
                disabled={cursors.length === 0}
                onClick={() => setCursors((before) => before.slice(0, -1))}
              >
                Previous
              </Button>
              <Text size="sm" c="dimmed" role="status">
                Page {formatNumber(cursors.length + 1)}
              </Text>
              <Button
                variant="default"
                disabled={nextCursor === null}
                loading={list.isPlaceholderData}
                onClick={() => setCursors((before) => (nextCursor === null ? before : [...before, nextCursor]))}
              >
                Next
              </Button>
            </Group>
          )
        }
      />
    </>
  );
}
