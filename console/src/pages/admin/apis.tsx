import { Badge, Button, Text } from '@mantine/core';
import { IconApi, IconPlus } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../../../sdk/src/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';
import { NewApi } from './apis/new-api';

type Row = components['schemas']['ApiResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'API', render: ({ name }) => name, width: 200 },
  { header: 'Path', render: ({ slug }) => `/call/${slug}`, width: 220 },
  {
    header: 'Response',
    render: ({ answer: text, upstream }) => (
      <>
        <Badge color={isFixed(upstream) ? 'gray' : 'indigo'}>{isFixed(upstream) ? 'fixed text' : 'upstream'}</Badge>
        <Text size="xs" c="dimmed" lineClamp={1} mt={2} style={{ overflowWrap: 'anywhere' }}>
          {upstream ?? text}
        </Text>
      </>
    ),
    onPhone: false,
  },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" />, onPhone: false, width: 150 },
];

function isFixed(upstream: Row['upstream']): boolean {
  return upstream === null || upstream === undefined;
}

/** The catalogue of metered APIs. */
export default function Apis() {
  const { create } = useSearch({ from: '/shell/apis' });
  const navigate = useNavigate({ from: '/apis' });
  const setCreate = (isOpen: boolean): void =>
    void navigate({ search: isOpen ? { create: 'yes' } : {}, replace: true });
  const pages = usePages(['apis', 'list'], ({ cursor, signal }) =>
    answer(api.GET('/v1/apis', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader
        title="APIs"
        description="The catalogue of metered APIs. Each has a meter of its own: api:<slug>."
        actions={
          <Button leftSection={<IconPlus size={16} />} onClick={() => setCreate(true)}>
            New API
          </Button>
        }
      />
      <DataTable
        label="APIs"
        columns={COLUMNS}
        pages={pages}
        rowKey={({ slug }) => slug}
        rowLink={({ slug }) => ({ to: '/apis/$slug', params: { slug } })}
        empty={
          <EmptyState title="No APIs" icon={IconApi}>
            Add one that returns a fixed text, or forwards calls to your service.
          </EmptyState>
        }
      />
      <NewApi opened={create !== undefined} onClose={() => setCreate(false)} />
    </>
  );
}
