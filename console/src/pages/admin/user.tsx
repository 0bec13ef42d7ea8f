import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function User() {
  return (
    <>
      <PageHeader title="User" description="One account." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
