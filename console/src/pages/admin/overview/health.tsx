import { Badge, Card, Group, SimpleGrid, Skeleton, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ApiProblem } from '../../../api/problem';
import { sendOrThrow } from '../../../api/transport';
import { formatNumber } from '../../../components/num';
import { Time } from '../../../components/time';
import { SERVER_URL } from '../../../base-path';

const REFRESH_MS = 15_000;

/** Returns the sum of a metric over its labels, from Prometheus text; undefined if it is not there. */
function sumOf(text: string, name: string): number | undefined {
  const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  if (lines.length === 0) return undefined;
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Whether the database answers, and what the node that serves this page says of itself. */
export function Health() {
  const ready = useQuery({
    queryKey: ['health', 'ready'],
    queryFn: ({ signal }) => answer(api.GET('/readyz', { signal })),
    refetchInterval: REFRESH_MS,
    retry: false,
  });
  const node = useQuery({
    queryKey: ['health', 'node'],
    queryFn: async ({ signal }) => (await sendOrThrow(new Request(`${SERVER_URL}/metrics`, { signal }))).text(),
    refetchInterval: REFRESH_MS,
    retry: false,
  });
  const text = node.data ?? '';
  const version = /quartermaster_build_info\{[^}]*version="([^"]+)"/.exec(text)?.[1];
  const started = sumOf(text, 'quartermaster_process_start_time_seconds');
  const isClosed = node.error instanceof ApiProblem && node.error.status === 401;
  const connections = sumOf(text, 'quartermaster_database_connections');
  const facts: [string, React.ReactNode][] = [
    ['Version', version],
    ['Started', started !== undefined && <Time at={new Date(started * 1_000).toISOString()} as="relative" />],
    [
      'Database connections',
      connections !== undefined &&
        `${formatNumber(connections)} of at most ${formatNumber(sumOf(text, 'quartermaster_database_connections_max') ?? 0)}`,
    ],
    ['Waiting for a connection', numberOf(sumOf(text, 'quartermaster_database_waiting'))],
    ['Backlog of the coalescer', numberOf(sumOf(text, 'quartermaster_coalescer_waiting'))],
    ['Refused for overload', numberOf(sumOf(text, 'quartermaster_coalescer_refused_total'))],
    [
      'Oldest audit entry not sealed',
      `${formatNumber(Math.round(sumOf(text, 'quartermaster_audit_unsealed_seconds') ?? 0))} s`,
    ],
  ];
  return (
    <Card>
      <Group justify="space-between" mb="md">
        <Title order={2} size="h4">
          Health
        </Title>
        <Badge color={ready.isPending ? 'gray' : ready.error === null ? 'green' : 'red'} role="status" size="lg">
          {ready.isPending
            ? 'checking'
            : ready.error === null
              ? 'Server and database answer'
              : `Not ready: ${ready.error.message}`}
        </Badge>
      </Group>
      {node.isPending && <Skeleton height={100} />}
      {isClosed && (
        <Text size="sm" c="dimmed">
          The numbers of the node are for those who have METRICS_TOKEN. Prometheus reads them at <code>/metrics</code>.
        </Text>
      )}
      {node.data !== undefined && (
        <>
          <SimpleGrid cols={{ base: 2, md: 4 }} spacing="md" verticalSpacing="sm">
            {facts.map(([label, value]) => (
              <div key={label}>
                <Text size="xs" c="dimmed">
                  {label}
                </Text>
                <Text size="sm" fw={500} component="div">
                  {value === undefined || value === false ? '–' : value}
                </Text>
              </div>
            ))}
          </SimpleGrid>
          <Text size="xs" c="dimmed" mt="md">
            These are the numbers of the node that answered. Prometheus sees all nodes.
          </Text>
        </>
      )}
    </Card>
  );
}

function numberOf(value: number | undefined): string | undefined {
  return value === undefined ? undefined : formatNumber(value);
}
