import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['ResourceResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'Value', render: ({ value }) => value },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
];

export default function Resources() {
  const pages = usePages(['resources'], ({ cursor, signal }) =>
    answer(api.GET('/v1/resources', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="Resources" description="Your resources, newest first." />
      <DataTable label="Resources" columns={COLUMNS} pages={pages} rowKey={({ id }) => id} />
    </>
  );
}
