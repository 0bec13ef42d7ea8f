import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Api() {
  return (
    <>
      <PageHeader title="API" description="One API of the catalogue." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
