import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['PlanResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'Plan', render: ({ name }) => name },
  { header: 'Slug', render: ({ slug }) => slug },
  { header: 'Created', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
];

export default function Plans() {
  const pages = usePages(['plans'], ({ cursor, signal }) =>
    answer(api.GET('/v1/plans', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="Plans" description="Limits that users share." />
      <DataTable label="Plans" columns={COLUMNS} pages={pages} rowKey={({ slug }) => slug} />
    </>
  );
}
