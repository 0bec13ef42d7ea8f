import { Alert, Button, Card, Group, Progress, SegmentedControl, Stack, Text } from '@mantine/core';
import { DatePickerInput } from '@mantine/dates';
import '@mantine/dates/styles.css';
import { IconCircleCheck, IconDownload } from '@tabler/icons-react';
import { useMutation } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { api } from '../../api/client';
import { formatBytes } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { saveFile } from '../../components/save-file';

type Format = 'csv' | 'json';

const DAY_MS = 86_400_000;

/** Returns the day that is so many days from today, in UTC. */
function day(offset: number): string {
  return new Date(Date.now() + offset * DAY_MS).toISOString().slice(0, 10);
}

/** Returns the first and the last day of a month, in UTC. */
function month(offset: number): [string, string] {
  const now = new Date();
  const first = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + offset, 1);
  const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + offset + 1, 1);
  return [new Date(first).toISOString().slice(0, 10), new Date(next - DAY_MS).toISOString().slice(0, 10)];
}

const PRESETS: { label: string; days: () => [string, string] }[] = [
  { label: 'Today', days: () => [day(0), day(0)] },
  { label: 'Last 7 days', days: () => [day(-6), day(0)] },
  { label: 'This month', days: () => month(0) },
  { label: 'Last month', days: () => month(-1) },
];

/** The ledger of a period as a file, for billing. */
export default function Export() {
  const [days, setDays] = useState<[string | null, string | null]>(() => month(0));
  const [format, setFormat] = useState<Format>('csv');
  const [received, setReceived] = useState(0);
  const aborter = useRef<AbortController>(undefined);
  const [from, to] = days;

  const download = useMutation({
    mutationFn: async ([first, last]: [string, string]) => {
      setReceived(0);
      aborter.current = new AbortController();
      // The last day is part of the export; `to` is exclusive.
      const end = new Date(Date.parse(last) + DAY_MS).toISOString().slice(0, 10);
      const { response } = await api.GET('/v1/metrics/usage', {
        params: { query: { from: first, to: end, format } },
        parseAs: 'stream',
        signal: aborter.current.signal,
      });
      const parts: BlobPart[] = [];
      const reader = response.body?.getReader();
      let bytes = 0;
      while (reader !== undefined) {
        // A broken transfer throws: half a file is never saved.
        const { done, value } = await reader.read();
        if (done) break;
        parts.push(value);
        bytes += value.byteLength;
        setReceived(bytes);
      }
      const name = `usage-${first}-to-${last}.${format === 'csv' ? 'csv' : 'ndjson'}`;
      saveFile(new Blob(parts, { type: format === 'csv' ? 'text/csv' : 'application/x-ndjson' }), name);
      return { name, bytes };
    },
  });
  const isAborted = download.error?.name === 'AbortError';

  return (
    <>
      <PageHeader
        title="Export"
        description="Usage by hour, owner, key and meter: one line each, as the ledger has it. Days are UTC."
      />
      <Card maw={760}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (from !== null && to !== null) download.mutate([from, to]);
          }}
        >
          <Stack>
            <Group gap="xs">
              {PRESETS.map(({ label, days: preset }) => (
                <Button key={label} size="xs" variant="default" onClick={() => setDays(preset())}>
                  {label}
                </Button>
              ))}
            </Group>
            <DatePickerInput
              type="range"
              label="Days"
              description="Both are part of the export."
              value={days}
              onChange={setDays}
              allowSingleDateInRange
              valueFormat="D MMM YYYY"
              maw={340}
            />
            <div>
              <Text size="sm" fw={500} mb={4}>
                Format
              </Text>
              <SegmentedControl
                aria-label="Format"
                data={[
                  { value: 'csv', label: 'CSV' },
                  { value: 'json', label: 'NDJSON' },
                ]}
                value={format}
                onChange={setFormat}
              />
              <Text size="xs" c="dimmed" mt={4}>
                {format === 'csv' ? 'For spreadsheets.' : 'One JSON object a line, for programs.'}
              </Text>
            </div>
            <Group gap="xs">
              <Button
                type="submit"
                leftSection={<IconDownload size={16} />}
                disabled={from === null || to === null}
                loading={download.isPending}
              >
                Download
              </Button>
              {download.isPending && (
                <Button variant="default" onClick={() => aborter.current?.abort()}>
                  Cancel
                </Button>
              )}
            </Group>
            <div role="status">
              {download.isPending && (
                <>
                  <Progress value={100} animated aria-hidden mb={6} />
                  <Text size="sm" c="dimmed">
                    {formatBytes(received)} received
                  </Text>
                </>
              )}
              {download.data !== undefined && (
                <Alert color="green" icon={<IconCircleCheck />} title="Saved">
                  {download.data.name}, {formatBytes(download.data.bytes)}
                </Alert>
              )}
            </div>
            {!isAborted && <ProblemAlert error={download.error} />}
          </Stack>
        </form>
      </Card>
    </>
  );
}
