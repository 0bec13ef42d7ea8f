import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useRef, useState } from 'react';
import { formatNumber } from '../../components/num';
import { ProblemAlert } from '../../components/problem-alert';
import { download } from './download';
import { lineOf } from './store-file';
import { listEntries } from './store-requests';

interface StoreExportProps {
  prefix: string;
  opened: boolean;
  onClose: () => void;
}

/** Exports all entries below a prefix as NDJSON. */
export function StoreExport({ prefix, opened, onClose }: StoreExportProps) {
  const [count, setCount] = useState<number>();
  const [error, setError] = useState<unknown>(null);
  const abort = useRef(new AbortController());
  const close = (): void => {
    abort.current.abort();
    setCount(undefined);
    setError(null);
    onClose();
  };
  const run = async (): Promise<void> => {
    abort.current = new AbortController();
    const { signal } = abort.current;
    const lines: string[] = [];
    setError(null);
    try {
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await listEntries({ prefix, cursor, limit: 100, signal });
        lines.push(...page.data.map(lineOf));
        setCount(lines.length);
        cursor = page.nextCursor;
      }
      download('store.ndjson', lines, 'application/x-ndjson');
      close();
    } catch (problem) {
      if (!signal.aborted) setError(problem);
      setCount(undefined);
    }
  };
  return (
    <Modal opened={opened} onClose={close} title="Export entries">
      <Stack>
        <Text size="sm">
          All entries {prefix === '' ? 'of your store' : `whose keys begin with “${prefix}”`} are written to a file, one
          JSON object a line, with values exactly as they are stored. Entries that change meanwhile may be missed.
        </Text>
        <Text size="sm" role="status" mih={22}>
          {count !== undefined && `${formatNumber(count)} entries read`}
        </Text>
        <ProblemAlert error={error} />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button loading={count !== undefined} onClick={() => void run()}>
            Export
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
