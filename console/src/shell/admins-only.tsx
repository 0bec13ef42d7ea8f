import { IconLock } from '@tabler/icons-react';
import { EmptyState } from '../components/empty-state';
import { PageHeader } from '../components/page-header';

/** Shown to users in place of a page for administrators; the API would refuse its data too. */
export function AdminsOnly({ title }: { title: string }) {
  return (
    <>
      <PageHeader title={title} />
      <EmptyState icon={IconLock} title="Only administrators can see this page">
        Ask an administrator if you need it.
      </EmptyState>
    </>
  );
}
