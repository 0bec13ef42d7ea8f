import { Code, Drawer, Table, Text, Tooltip, UnstyledButton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconFileText } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo, useState, type ReactNode } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { CopyText } from '../../../components/copy-text';
import { DataTable, type Column } from '../../../components/data-table';
import { EmptyState } from '../../../components/empty-state';
import { Time } from '../../../components/time';
import { nameOf } from '../users/user-name';
import classes from './audit-list.module.css';

type Entry = components['schemas']['AuditEntryResponse'];

interface Change {
  from?: unknown;
  to?: unknown;
}

interface AuditListProps {
  filter: { actor?: string; action?: string; target?: string };
}

const columnsOf = (onOpen: (entry: Entry) => void): Column<Entry>[] => [
  { header: 'At', render: ({ at }) => <Time at={at} /> },
  { header: 'Action', render: ({ action }) => <Code>{action}</Code> },
  {
    header: 'Actor',
    render: ({ actor }) => (actor === null ? 'the server' : <Person id={actor} />),
    width: 160,
    onPhone: false,
  },
  {
    header: 'Target',
    render: ({ target, action }) => <Target target={target} action={action} />,
    width: 200,
    onPhone: false,
  },
  { header: 'Changes', render: (entry) => <Summary entry={entry} onOpen={onOpen} /> },
  { header: 'Address', render: ({ ip }) => ip ?? '–', width: 130, onPhone: false },
];

/** Entries of the audit log with what each changed. */
export function AuditList({ filter }: AuditListProps) {
  const pages = usePages(['audit', 'list', filter], ({ cursor, signal }) =>
    answer(api.GET('/v1/audit', { params: { query: { ...filter, cursor } }, signal })),
  );
  const [isOpen, { open, close }] = useDisclosure();
  const [entry, setEntry] = useState<Entry>();
  const columns = useMemo(
    () =>
      columnsOf((next) => {
        setEntry(next);
        open();
      }),
    [open],
  );
  return (
    <>
      <DataTable
        label="Audit"
        columns={columns}
        pages={pages}
        rowKey={({ id }) => id}
        empty={
          <EmptyState title="No entries" icon={IconFileText}>
            {Object.keys(filter).length === 0 ? 'Each change is written here.' : 'Nothing matches. Widen the filter.'}
          </EmptyState>
        }
      />
      <Drawer opened={isOpen} onClose={close} title={entry?.action} position="right" size="lg">
        {entry !== undefined && <Details entry={entry} />}
      </Drawer>
    </>
  );
}

/** A user by name; by id if the account is gone. */
function Person({ id }: { id: string }) {
  const user = useQuery({
    queryKey: ['users', id, 'name'],
    queryFn: async ({ signal }) =>
      nameOf(await answer(api.GET('/v1/users/{user}', { params: { path: { user: id } }, signal }))),
    staleTime: 300_000,
    retry: false,
  });
  if (user.data === undefined) return <Id id={id} />;
  return (
    <Link to="/users/$user" params={{ user: id }} className={classes.link}>
      {user.data}
    </Link>
  );
}

const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** Actions whose target is a user; the quota of a key is one of a key. */
const ON_USERS = /^(user|credits|password|email|totp|quota)\./;

function Target({ target, action }: Pick<Entry, 'target' | 'action'>) {
  if (!UUID.test(target)) return <span style={{ overflowWrap: 'anywhere' }}>{target}</span>;
  if (ON_USERS.test(action)) return <Person id={target} />;
  if (!action.startsWith('key.')) return <Id id={target} />;
  return (
    <Link to="/keys/$id" params={{ id: target }} className={classes.link}>
      <Id id={target} />
    </Link>
  );
}

/** Who or what an id stands for, above the whole id. */
function Named({ id, name }: { id: string; name: ReactNode }) {
  if (!UUID.test(id)) return name;
  return (
    <>
      {name}
      <CopyText label="the id" value={id} />
    </>
  );
}

/** A shortened id; the details have it whole. */
function Id({ id }: { id: string }) {
  return (
    <Tooltip label={id}>
      <Text size="xs" ff="monospace" span>
        …{id.slice(-12)}
      </Text>
    </Tooltip>
  );
}

const MAX_SUMMARY = 100;

/** Says in one line what changed. */
function summaryOf(changes: Entry['changes']): string {
  const whole = (Object.entries(changes) as [string, Change][])
    // An id says little; the details have it.
    .filter(([, { to }]) => !(typeof to === 'string' && UUID.test(to)))
    .map(([field, { from, to }]) => {
      if (from === undefined && to === undefined) return field;
      return `${field}: ${from === undefined ? '' : `${textOf(from)} → `}${textOf(to)}`;
    })
    .join(', ');
  return whole.length <= MAX_SUMMARY ? whole : `${whole.slice(0, MAX_SUMMARY)}…`;
}

/** What changed, in one line, which opens the entry. */
function Summary({ entry, onOpen }: { entry: Entry; onOpen: (entry: Entry) => void }) {
  return (
    <UnstyledButton onClick={() => onOpen(entry)} className={classes.summary} aria-haspopup="dialog">
      <Text size="sm" lineClamp={1}>
        {summaryOf(entry.changes) || 'Details'}
      </Text>
    </UnstyledButton>
  );
}

/** An entry: the old and the new value of each changed field, side by side. */
function Details({ entry }: { entry: Entry }) {
  const { action, actor, at, changes, id, ip, requestId, target } = entry;
  const fields = Object.entries(changes) as [string, Change][];
  const facts: [string, ReactNode][] = [
    ['At', <Time key="at" at={at} />],
    ['Actor', actor === null ? 'the server' : <Named key="actor" id={actor} name={<Person id={actor} />} />],
    ['Target', <Named key="target" id={target} name={<Target target={target} action={action} />} />],
    ['Address', ip ?? '–'],
    ['Request id', requestId === null ? '–' : <CopyText key="request" label="the request id" value={requestId} />],
    ['Entry', <CopyText key="entry" label="the id of the entry" value={id} />],
  ];
  return (
    <>
      {fields.length > 0 && (
        <div className={classes.scroll}>
          <Table mb="lg" aria-label="Changes" layout="fixed">
            <Table.Thead>
              <Table.Tr>
                <Table.Th w="26%">Field</Table.Th>
                <Table.Th>Before</Table.Th>
                <Table.Th>After</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {fields.map(([field, change]) => (
                <Table.Tr key={field}>
                  <Table.Th scope="row" fw={500} className={classes.field}>
                    {field}
                  </Table.Th>
                  {!('from' in change) && !('to' in change) ? (
                    <Table.Td colSpan={2} c="dimmed">
                      changed; a secret is not recorded
                    </Table.Td>
                  ) : (
                    <>
                      <Table.Td className={classes.from}>{'from' in change && <Value value={change.from} />}</Table.Td>
                      <Table.Td className={classes.to}>{'to' in change && <Value value={change.to} />}</Table.Td>
                    </>
                  )}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      <Table variant="vertical" aria-label="Entry">
        <Table.Tbody>
          {facts.map(([label, value]) => (
            <Table.Tr key={label}>
              <Table.Th scope="row" w="26%">
                {label}
              </Table.Th>
              <Table.Td style={{ overflowWrap: 'anywhere' }}>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </>
  );
}

function textOf(value: unknown): string {
  return value === null || value === undefined ? 'none' : typeof value === 'string' ? value : JSON.stringify(value);
}

function Value({ value }: { value: unknown }) {
  return <span className={value === null ? classes.none : classes.value}>{textOf(value)}</span>;
}
