import { Anchor, Badge, Code, Drawer, Group, Stack, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconCode } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useLocation } from '@tanstack/react-router';
import { useEffect } from 'react';
import { sentRequests, type SentRequest } from '../api/sent-requests';
import { useStore } from '../api/store';
import { CONSOLE_PATH, SERVER_URL } from '../base-path';
import { CopyIcon } from '../components/copy-icon';
import { EmptyState } from '../components/empty-state';
import { curlOf } from './curl';
import classes from './requests-drawer.module.css';

/**
 * What this page asks of the API, as commands that do the same.
 * @param opens how often it was opened: each change opens it
 */
export default function RequestsDrawer({ opens }: { opens: number }) {
  const [isOpen, { open, close }] = useDisclosure();
  useEffect(open, [opens, open]);
  return (
    <Drawer opened={isOpen} onClose={close} position="right" size="lg" title="API requests of this page">
      <Stack>
        <Text size="sm" c="dimmed">
          The console uses only the public API, so a program can do the same. <Code>TOKEN</Code> is an access token of{' '}
          <Code>POST /v1/auth/login</Code>.{' '}
          <Anchor href={`${SERVER_URL}/docs`} target="_blank" size="sm" underline="always">
            API documentation
          </Anchor>
        </Text>
        <Requests />
      </Stack>
    </Drawer>
  );
}

function Requests() {
  const { pathname } = useLocation();
  const all = useStore(sentRequests).filter(({ page }) => page === CONSOLE_PATH + pathname);
  // A list that refreshes itself sends the same request again and again.
  const requests = all.filter(
    ({ request: { method, url } }, index) =>
      all.findIndex(({ request }) => request.method === method && request.url === url) === index,
  );
  if (requests.length === 0) {
    return (
      <EmptyState icon={IconCode} title="No requests yet">
        They appear here as soon as the page reads or changes something.
      </EmptyState>
    );
  }
  return requests.map((sent) => <Sent key={sent.id} sent={sent} />);
}

function Sent({ sent: { id, request, status } }: { sent: SentRequest }) {
  const { pathname, search } = new URL(request.url);
  const name = `${request.method} ${pathname}${search}`;
  const { data: curl = '' } = useQuery({
    queryKey: ['curl', id],
    queryFn: () => curlOf(request),
    staleTime: Infinity,
  });
  return (
    <section aria-label={name}>
      <Group gap="xs" mb={4} wrap="nowrap">
        <Text size="sm" fw={600} style={{ overflowWrap: 'anywhere' }}>
          {name}
        </Text>
        <Badge color={status < 400 ? 'green' : 'red'}>{status}</Badge>
      </Group>
      <Group gap={4} wrap="nowrap" align="flex-start">
        <Code block className={classes.curl} tabIndex={0}>
          {curl}
        </Code>
        {window.isSecureContext && <CopyIcon label={`the command of ${name}`} value={curl} />}
      </Group>
    </section>
  );
}
