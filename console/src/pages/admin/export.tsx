import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Export() {
  return (
    <>
      <PageHeader title="Export" description="Usage as CSV or NDJSON." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
