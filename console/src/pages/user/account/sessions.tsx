import { Badge, Button, Group, Text } from '@mantine/core';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { components } from '../../../../../sdk/src/schema';
import { usePages } from '../../../api/use-pages';
import { deviceOf } from '../../../components/device';
import { DataTable, type Column } from '../../../components/data-table';
import { Time } from '../../../components/time';
import { useMutationWithNotice } from '../../../components/use-mutation-with-notice';
import { Section } from './section';
import { SECURITY } from './use-security';

type Session = components['schemas']['SessionResponse'];

/** Where the user is signed in. */
export function Sessions() {
  const pages = usePages(['sessions'], ({ cursor, signal }) =>
    answer(api.GET('/v1/auth/sessions', { params: { query: { cursor } }, signal })),
  );
  const end = useMutationWithNotice({
    mutationFn: ({ id }: Session) => answer(api.DELETE('/v1/auth/sessions/{id}', { params: { path: { id } } })),
    success: 'The session has ended',
    invalidates: [['sessions'], SECURITY],
  });
  const columns: Column<Session>[] = [
    {
      header: 'Device',
      render: ({ userAgent, current }) => (
        <Group gap="xs">
          <div>
            <Text size="sm">{deviceOf(userAgent)}</Text>
            <Text size="xs" c="dimmed" lineClamp={1} maw={420} visibleFrom="sm" style={{ overflowWrap: 'anywhere' }}>
              {userAgent}
            </Text>
          </div>
          {current && (
            <Badge color="green" miw="max-content">
              This session
            </Badge>
          )}
        </Group>
      ),
    },
    { header: 'Address', render: ({ ip }) => ip ?? 'unknown', onPhone: false },
    { header: 'Signed in', render: ({ createdAt }) => <Time at={createdAt} as="relative" /> },
    {
      header: 'Last active',
      render: ({ refreshedAt, createdAt }) => <Time at={refreshedAt ?? createdAt} as="relative" />,
      onPhone: false,
    },
    {
      header: 'Actions',
      hidesHeader: true,
      align: 'right',
      render: (session) =>
        !session.current && (
          <Button
            size="xs"
            variant="default"
            loading={end.isPending && end.variables.id === session.id}
            onClick={() => end.mutate(session)}
            aria-label={`End the session of ${deviceOf(session.userAgent)}`}
          >
            End
          </Button>
        ),
    },
  ];
  return (
    <Section
      title="Sessions"
      description="Where you are signed in. End what you do not know, and change your password."
    >
      <DataTable label="Your sessions" columns={columns} pages={pages} rowKey={({ id }) => id} />
    </Section>
  );
}
