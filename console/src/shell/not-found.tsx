import { Anchor } from '@mantine/core';
import { IconMapOff } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { EmptyState } from '../components/empty-state';
import { PageHeader } from '../components/page-header';

/** For addresses that are no page. */
export default function NotFound() {
  return (
    <>
      <PageHeader title="Page not found" />
      <EmptyState icon={IconMapOff} title="There is no page at this address">
        Check the address, or{' '}
        <Anchor component={Link} to="/" underline="always">
          go to the start page
        </Anchor>
        .
      </EmptyState>
    </>
  );
}
