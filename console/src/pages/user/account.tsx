import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Account() {
  return (
    <>
      <PageHeader title="Account" description="Profile, password, sessions and second factor." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
