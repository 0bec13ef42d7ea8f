import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['TaskResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'Title', render: ({ title }) => title },
  { header: 'State', render: ({ completed }) => (completed ? 'completed' : 'open') },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
];

export default function Tasks() {
  const pages = usePages(['tasks'], ({ cursor, signal }) =>
    answer(api.GET('/v1/tasks', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="Tasks" description="Your tasks. Each holds one of your credits." />
      <DataTable label="Tasks" columns={COLUMNS} pages={pages} rowKey={({ id }) => id} />
    </>
  );
}
