import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Platform() {
  return (
    <>
      <PageHeader title="Platform" description="Settings and limits of the platform." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
