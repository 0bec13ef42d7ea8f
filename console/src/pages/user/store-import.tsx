import {
  Alert,
  Button,
  Code,
  FileInput,
  Group,
  List,
  Modal,
  Progress,
  Select,
  Stack,
  Table,
  Text,
} from '@mantine/core';
import { IconFileImport } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { formatNumber } from '../../components/num';
import { ProblemAlert } from '../../components/problem-alert';
import { readFile, type FileEntry } from './store-file';
import { MAX_BATCH, writeEntries, type OnConflict } from './store-requests';

/** Characters of values in one request: less than the server's limit of 16 MiB even if each takes three bytes. */
const MAX_CHARACTERS = 4_000_000;

const CONFLICTS = [
  { value: 'skip', label: 'stays as it is' },
  { value: 'replace', label: 'is replaced' },
  { value: 'fail', label: 'stops the import' },
];

const PREVIEWED = 5;

/** Returns the entries from `start` that fit into one request. */
function batchOf(entries: FileEntry[], start: number): FileEntry[] {
  let characters = 0;
  let end = start;
  while (end < entries.length && end - start < MAX_BATCH) {
    characters += entries[end]?.value.length ?? 0;
    if (characters > MAX_CHARACTERS && end > start) break;
    end++;
  }
  return entries.slice(start, end);
}

interface Tally {
  done: number;
  written: number;
  skipped: number;
  failed: string[];
}

const NOTHING: Tally = { done: 0, written: 0, skipped: 0, failed: [] };

type State = 'choosing' | 'running' | 'stopped' | 'done';

/** Imports entries of a file, up to a thousand a request. */
export function StoreImport({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Import entries" size="lg" closeOnClickOutside={false}>
      <ImportForm onClose={onClose} />
    </Modal>
  );
}

function ImportForm({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [content, setContent] = useState<ReturnType<typeof readFile>>();
  const [onConflict, setOnConflict] = useState<OnConflict>('skip');
  const [tally, setTally] = useState(NOTHING);
  const [state, setState] = useState<State>('choosing');
  const [error, setError] = useState<unknown>(null);
  const abort = useRef(new AbortController());
  const entries = content?.entries ?? [];

  const run = async (): Promise<void> => {
    let now = tally;
    abort.current = new AbortController();
    setState('running');
    setError(null);
    try {
      while (now.done < entries.length && !abort.current.signal.aborted) {
        const batch = batchOf(entries, now.done);
        const { written, skipped, results } = await writeEntries(batch, onConflict, abort.current.signal);
        const failed = results.filter(({ status }) => status === 'failed' || status === 'aborted');
        now = {
          done: now.done + batch.length,
          written: now.written + written,
          skipped: now.skipped + skipped,
          failed: [...now.failed, ...failed.map(({ key, code }) => `${key}: ${code ?? 'not written'}`)],
        };
        setTally(now);
      }
      setState(now.done < entries.length ? 'stopped' : 'done');
    } catch (problem) {
      if (!abort.current.signal.aborted) setError(problem);
      setState('stopped');
    }
    await queries.invalidateQueries({ queryKey: ['store', 'me'] });
  };

  return (
    <Stack>
      <FileInput
        label="File"
        description={
          <>
            NDJSON or a JSON list of <Code>{'{"key": …, "value": …}'}</Code>, each with an optional{' '}
            <Code>ttlSeconds</Code>. An export is such a file.
          </>
        }
        placeholder="Choose a file"
        accept=".ndjson,.jsonl,.json,application/json"
        leftSection={<IconFileImport size={16} />}
        clearable
        clearButtonProps={{ 'aria-label': 'Remove the file' }}
        disabled={state === 'running'}
        onChange={(file) => {
          setTally(NOTHING);
          setState('choosing');
          setError(null);
          setContent(undefined);
          void file?.text().then((text) => setContent(readFile(text)));
        }}
      />
      {content !== undefined && (
        <>
          {content.faults.length > 0 && (
            <Alert color="orange" title={`${formatNumber(content.faults.length)} cannot be imported`}>
              <List size="sm">
                {content.faults.slice(0, PREVIEWED).map((fault) => (
                  <List.Item key={fault}>{fault}</List.Item>
                ))}
              </List>
            </Alert>
          )}
          {entries.length > 0 && <Preview entries={entries} />}
          <Select
            label="An entry whose key exists"
            data={CONFLICTS}
            value={onConflict}
            onChange={(value) => setOnConflict(value as OnConflict)}
            allowDeselect={false}
            disabled={state !== 'choosing'}
          />
        </>
      )}
      {state !== 'choosing' && (
        <div role="status">
          <Progress value={(tally.done / Math.max(entries.length, 1)) * 100} aria-label="Progress of the import" />
          <Text size="sm" mt="xs">
            {state === 'done' ? 'Done: ' : `${formatNumber(tally.done)} of ${formatNumber(entries.length)}: `}
            {formatNumber(tally.written)} written, {formatNumber(tally.skipped)} skipped
            {tally.failed.length > 0 && `, ${formatNumber(tally.failed.length)} failed`}
          </Text>
        </div>
      )}
      {tally.failed.length > 0 && (
        <Alert color="red" title="Not written">
          <List size="sm">
            {tally.failed.slice(0, PREVIEWED).map((line) => (
              <List.Item key={line}>{line}</List.Item>
            ))}
          </List>
        </Alert>
      )}
      <ProblemAlert error={error} />
      <Group justify="flex-end" gap="xs">
        {state === 'running' ? (
          <Button variant="default" onClick={() => abort.current.abort()}>
            Stop
          </Button>
        ) : (
          <Button variant="default" onClick={onClose}>
            {state === 'done' ? 'Close' : 'Cancel'}
          </Button>
        )}
        {state !== 'done' && (
          <Button loading={state === 'running'} disabled={entries.length === 0} onClick={() => void run()}>
            {state === 'stopped'
              ? 'Continue'
              : ['Import', entries.length > 0 && formatNumber(entries.length)].filter(Boolean).join(' ')}
          </Button>
        )}
      </Group>
    </Stack>
  );
}

function Preview({ entries }: { entries: FileEntry[] }) {
  return (
    <Table withTableBorder layout="fixed">
      <Table.Caption>
        {entries.length > PREVIEWED
          ? `The first ${formatNumber(PREVIEWED)} of ${formatNumber(entries.length)} entries`
          : 'The entries of the file'}
      </Table.Caption>
      <Table.Thead>
        <Table.Tr>
          <Table.Th scope="col">Key</Table.Th>
          <Table.Th scope="col">Value</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {entries.slice(0, PREVIEWED).map(({ key, value }) => (
          <Table.Tr key={key}>
            <Table.Td>
              <Text size="sm" truncate>
                {key}
              </Text>
            </Table.Td>
            <Table.Td>
              <Text size="sm" ff="monospace" truncate>
                {value.slice(0, 200)}
              </Text>
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
