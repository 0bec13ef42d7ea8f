import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { components } from '../../api/schema';
import { usePages } from '../../api/use-pages';
import { DataTable, type Column } from '../../components/data-table';
import { PageHeader } from '../../components/page-header';
import { Time } from '../../components/time';

type Row = components['schemas']['KeyResponse'];

const COLUMNS: Column<Row>[] = [
  { header: 'Name', render: ({ name }) => name },
  { header: 'Key', render: ({ hint }) => hint },
  { header: 'Last used', render: ({ lastUsedAt }) => <Time at={lastUsedAt} as="relative" /> },
];

export default function Keys() {
  const pages = usePages(['keys'], ({ cursor, signal }) =>
    answer(api.GET('/v1/keys', { params: { query: { cursor } }, signal })),
  );
  return (
    <>
      <PageHeader title="API keys" description="Your keys, their scopes and limits." />
      <DataTable label="API keys" columns={COLUMNS} pages={pages} rowKey={({ id }) => id} />
    </>
  );
}
