import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function StorePage() {
  return (
    <>
      <PageHeader title="Store" description="Your JSON key-value store." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
