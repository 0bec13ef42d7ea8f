import { Badge, Button, Code, Group, Tabs, Text, TextInput } from '@mantine/core';
import { IconHandStop, IconX } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { usePages } from '../../api/use-pages';
import { useUser } from '../../api/use-user';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { limitName } from '../../components/limit-bar';
import { givenTexts } from '../../components/given-texts';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { CheckKey } from './refusals/check-key';
import { CheckSecret } from './refusals/check-secret';
import { RefusalDetails } from './refusals/refusal-details';

type Refusal = components['schemas']['RefusalResponse'];

/** Why a call was refused: the refusals that are kept, and what would happen to a call now. */
export default function Refusals(): ReactNode {
  return (
    <>
      <PageHeader
        title="Refusals"
        description="Why a call was refused: every limit that was checked, what was used, what was left, and when it resets."
      />
      <Tabs defaultValue="found" keepMounted={false}>
        <Tabs.List mb="lg">
          <Tabs.Tab value="found">Refused calls</Tabs.Tab>
          <Tabs.Tab value="key">Check a key</Tabs.Tab>
          <Tabs.Tab value="secret">Check a secret</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="found">
          <Found />
        </Tabs.Panel>
        <Tabs.Panel value="key">
          <CheckKey />
        </Tabs.Panel>
        <Tabs.Panel value="secret">
          <CheckSecret />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

function Found(): ReactNode {
  const filter = useSearch({ from: '/shell/refusals' });
  const navigate = useNavigate({ from: '/refusals' });
  const isAdmin = useUser().role === 'admin';
  const [texts, setTexts] = useState({ requestId: '', user: '', api: '', ...filter });
  const apply = (next: Record<string, string>): void => void navigate({ search: givenTexts(next), replace: true });
  const pages = usePages(['refusals', filter], ({ cursor, signal }) => {
    // A request id is enough for an administrator.
    const user = filter.user ?? (isAdmin && filter.requestId !== undefined ? '*' : undefined);
    const query = { ...filter, ...(user === undefined ? {} : { user }), cursor };
    return answer(api.GET('/v1/metrics/refusals', { params: { query }, signal }));
  });
  const field = (name: keyof typeof texts) => ({
    value: texts[name],
    flex: '1 1 150px',
    maw: { sm: 260 },
    onChange: (event: React.ChangeEvent<HTMLInputElement>) => setTexts({ ...texts, [name]: event.currentTarget.value }),
  });
  const isFiltered = Object.keys(filter).length > 0;

  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          apply(texts);
        }}
      >
        <Group align="flex-end" gap="sm" mb="md">
          <TextInput label="Request id" placeholder="7f3a90c1-2b" spellCheck={false} {...field('requestId')} />
          {isAdmin && <TextInput label="Owner" placeholder="Username, e-mail or id" {...field('user')} />}
          <TextInput label="API" placeholder="Slug" spellCheck={false} {...field('api')} />
          <Button type="submit" variant="default">
            Find
          </Button>
          {isFiltered && (
            <Button
              variant="subtle"
              color="gray"
              leftSection={<IconX size={14} />}
              onClick={() => {
                setTexts({ requestId: '', user: '', api: '' });
                apply({});
              }}
            >
              Clear
            </Button>
          )}
        </Group>
      </form>
      <Text size="sm" c="dimmed" mb="sm">
        Refusals are kept for a day, the last thousand of each owner. The request id is in the response and in the
        header X-Request-Id.{isAdmin && ' Without an owner these are your own; a request id is looked for among all.'}
      </Text>
      <DataTable
        label="Refused calls"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ requestId, at }) => `${requestId} ${at}`}
        empty={
          <EmptyState title={isFiltered ? 'No refusal found' : 'No call was refused'} icon={IconHandStop}>
            {isFiltered
              ? 'It may be older than a day, of another owner, or the call was not refused. Requests without a valid API key are not kept.'
              : isAdmin
                ? 'These are your own calls. Enter an owner to see the refused calls of a user.'
                : 'Refused calls appear here within a second.'}
          </EmptyState>
        }
      />
    </>
  );
}

const COLUMNS: Column<Refusal>[] = [
  { header: 'At', render: ({ at }) => <Time at={at} as="relative" /> },
  { header: 'API', render: ({ api: slug }) => slug ?? '–', onPhone: false },
  {
    header: 'Why',
    render: (refusal) => (
      <Group gap={6}>
        <Badge color={refusal.code === 'quota_exceeded' ? 'orange' : 'red'} style={{ flexShrink: 0 }}>
          {refusal.code}
        </Badge>
        <Text size="sm" span style={{ overflowWrap: 'anywhere' }}>
          {refusal.violated.map((limit) => limitName(limit)).join('; ')}
        </Text>
      </Group>
    ),
  },
  { header: 'Request id', render: ({ requestId }) => <Code>{requestId}</Code>, onPhone: false },
  {
    header: 'Actions',
    hidesHeader: true,
    align: 'right',
    render: (refusal) => <RefusalDetails refusal={refusal} />,
  },
];
