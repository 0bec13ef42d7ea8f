import { EmptyState } from '../../components/empty-state';
import { PageHeader } from '../../components/page-header';

export default function Refusals() {
  return (
    <>
      <PageHeader title="Refusals" description="Why a call was refused." />
      <EmptyState title="Nothing to see yet" />
    </>
  );
}
