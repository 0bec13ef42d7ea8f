import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['ApiResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'API', render: ({ name }) => name },
  { header: 'Slug', render: ({ slug }) => slug },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
];

export default function Apis() {
  const pages = usePages(['apis'], ({ cursor, signal }) =>
    answer(api.GET('/v1/apis', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="APIs" description="The catalogue of metered APIs." />
      <DataTable label="APIs" columns={COLUMNS} pages={pages} rowKey={({ slug }) => slug} />
    </>
  );
}
