import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Plan() {
  return (
    <>
      <PageHeader title="Plan" description="Limits that users share." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
