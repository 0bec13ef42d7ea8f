import { PageHeader } from '../../components/page-header';

export default function ImportUsers() {
  return <PageHeader title="Import users" />;
}
