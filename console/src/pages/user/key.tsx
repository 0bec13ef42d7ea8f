import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Key() {
  return (
    <>
      <PageHeader title="API key" description="One API key." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
