import { Alert, Button, Card, Code, Group, Progress, Stack, Table, Text } from '@mantine/core';
import {
  IconCircleCheck,
  IconDownload,
  IconPlayerPause,
  IconPlayerPlay,
  IconPlugConnectedX,
} from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { Link, useBlocker } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { explain } from '../../../api/explain';
import { formatNumber } from '../../../components/num';
import { ProblemAlert } from '../../../components/problem-alert';
import { saveFile } from '../../../components/save-file';
import { ImportRun, type Progress as ImportState } from './import-run';
import { toCsv } from './parse-csv';
import { COLUMNS, type UserRow } from './user-rows';

/** Sends the lines, and says what has become of each. */
export function ImportProgress({ rows }: { rows: UserRow[] }) {
  const queries = useQueryClient();
  const run = useRef<ImportRun>(undefined);
  const [state, setState] = useState<ImportState>({ created: [], refused: [] });
  const [phase, setPhase] = useState<'running' | 'paused' | 'done'>('running');
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    const current = new ImportRun(rows, setState);
    run.current = current;
    current
      .run()
      .catch(setError)
      .finally(() => {
        setPhase('done');
        void queries.invalidateQueries({ queryKey: ['users'] });
        void queries.invalidateQueries({ queryKey: ['metrics'] });
      });
    return () => current.stop();
  }, [rows, queries]);

  useBlocker({
    shouldBlockFn: () =>
      phase !== 'done' && !window.confirm('Leave the page? The lines that are not sent yet are not created.'),
    enableBeforeUnload: phase !== 'done',
  });

  const { created, refused, waitsFor } = state;
  const finished = created.length + refused.length;
  const generated = created.filter(({ isGenerated }) => isGenerated);
  const pause = (): void => {
    const isPaused = phase === 'running';
    run.current?.setPaused(isPaused);
    setPhase(isPaused ? 'paused' : 'running');
  };

  return (
    <Stack>
      <Card>
        <Group justify="space-between" mb="xs">
          <Text fw={600} role="status">
            {phase === 'done' ? 'Finished: ' : phase === 'paused' ? 'Paused: ' : ''}
            {formatNumber(created.length)} created, {formatNumber(refused.length)} refused,{' '}
            {formatNumber(rows.length - finished)} left
          </Text>
          {phase !== 'done' && (
            <Button
              size="xs"
              variant="default"
              leftSection={phase === 'paused' ? <IconPlayerPlay size={14} /> : <IconPlayerPause size={14} />}
              onClick={pause}
            >
              {phase === 'paused' ? 'Go on' : 'Pause'}
            </Button>
          )}
        </Group>
        <Progress.Root size="lg">
          <Progress.Section value={(created.length / rows.length) * 100} color="green" aria-label="Created" />
          <Progress.Section value={(refused.length / rows.length) * 100} color="red" aria-label="Refused" />
        </Progress.Root>
        {waitsFor !== undefined && phase === 'running' && (
          <Alert color="orange" icon={<IconPlugConnectedX />} title="The import waits" mt="md">
            {waitsFor} It goes on by itself; no line is created twice.
          </Alert>
        )}
      </Card>
      <ProblemAlert error={error} />
      {phase === 'done' && (
        <Alert
          color={refused.length === 0 ? 'green' : 'orange'}
          icon={<IconCircleCheck />}
          title="The import has ended"
        >
          <Stack gap="sm">
            <Text size="sm">
              {formatNumber(created.length)} users exist now.
              {refused.length > 0 && ' Mend the refused lines and import them alone.'}
            </Text>
            <Group gap="xs">
              {generated.length > 0 && (
                <Button
                  size="xs"
                  leftSection={<IconDownload size={14} />}
                  onClick={() =>
                    save(
                      'passwords.csv',
                      toCsv([
                        ['username', 'email', 'password'],
                        ...generated.map(({ body }) => [body.username ?? '', body.email ?? '', body.password]),
                      ]),
                    )
                  }
                >
                  Save the generated passwords
                </Button>
              )}
              {refused.length > 0 && (
                <Button
                  size="xs"
                  variant="default"
                  leftSection={<IconDownload size={14} />}
                  onClick={() =>
                    save(
                      'refused.csv',
                      toCsv([
                        [...COLUMNS],
                        ...refused.map(({ row }) => COLUMNS.map((name) => String(row.body[name] ?? ''))),
                      ]),
                    )
                  }
                >
                  Save the refused lines
                </Button>
              )}
              <Button size="xs" variant="default" component={Link} to="/users">
                Go to Users
              </Button>
            </Group>
            {generated.length > 0 && (
              <Text size="sm">Generated passwords are nowhere else: save them before you leave this page.</Text>
            )}
          </Stack>
        </Alert>
      )}
      {refused.length > 0 && (
        <Card padding={0}>
          <Table.ScrollContainer minWidth={500} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
            <Table aria-label="Refused lines" horizontalSpacing="md">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th scope="col">Line</Table.Th>
                  <Table.Th scope="col">User</Table.Th>
                  <Table.Th scope="col">Why</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {refused.map(({ row, problem }) => {
                  const { title, message } = explain(problem);
                  return (
                    <Table.Tr key={row.line}>
                      <Table.Td>{row.line}</Table.Td>
                      <Table.Td>{row.body.username ?? row.body.email}</Table.Td>
                      <Table.Td>
                        {message || title} <Code>{problem.code}</Code>
                      </Table.Td>
                    </Table.Tr>
                  );
                })}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Card>
      )}
    </Stack>
  );
}

/** Saves rows as a CSV file. */
function save(name: string, text: string): void {
  saveFile(new Blob([text], { type: 'text/csv' }), name);
}
