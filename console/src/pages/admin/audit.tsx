import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['AuditEntryResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'Action', render: ({ action }) => action },
  { header: 'At', render: ({ at }) => <Time at={at} /> },
];

export default function Audit() {
  const pages = usePages(['audit'], ({ cursor, signal }) =>
    answer(api.GET('/v1/audit', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="Audit" description="Who changed what, newest first." />
      <DataTable label="Audit" columns={COLUMNS} pages={pages} rowKey={({ id }) => id} />
    </>
  );
}
