import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Overview() {
  return (
    <>
      <PageHeader title="Overview" description="What the platform does now." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
