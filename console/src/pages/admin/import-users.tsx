import {
  Alert,
  Anchor,
  Badge,
  Button,
  Card,
  Code,
  FileInput,
  Group,
  Stack,
  Table,
  Text,
  Textarea,
  Title,
} from '@mantine/core';
import { IconAlertTriangle, IconFileImport } from '@tabler/icons-react';
import { useState } from 'react';
import { formatNumber } from '../../components/num';
import { PageHeader } from '../../components/page-header';
import { ImportProgress } from './users/import-progress';
import { COLUMNS, userRows, type UserRow } from './users/user-rows';

const MAX_SHOWN = 50;

const EXAMPLE = `username,email,firstName,lastName,plan,credits
ada,ada@example.com,Ada,Lovelace,,20
grace,grace@example.com,Grace,Hopper,,`;

type Parsed = { rows: UserRow[] } | { fault: string };

function parse(text: string): Parsed {
  try {
    return { rows: userRows(text) };
  } catch (error) {
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

/** Creates many users from a CSV file: a preview first, then one request a line. */
export default function ImportUsers() {
  const [text, setText] = useState('');
  const [parsed, setParsed] = useState<Parsed>();
  const [started, setStarted] = useState<UserRow[]>();
  const read = (next: string): void => {
    setText(next);
    setParsed(next.trim() === '' ? undefined : parse(next));
  };
  if (started !== undefined) {
    return (
      <>
        <PageHeader
          parent={{ label: 'Users', link: { to: '/users' } }}
          title="Import users"
          description={`${formatNumber(started.length)} users from a CSV file.`}
        />
        <ImportProgress rows={started} />
      </>
    );
  }
  const rows = parsed !== undefined && 'rows' in parsed ? parsed.rows : [];
  const sendable = rows.filter(({ fault }) => fault === undefined);
  const generated = sendable.filter(({ isGenerated }) => isGenerated).length;

  return (
    <>
      <PageHeader
        parent={{ label: 'Users', link: { to: '/users' } }}
        title="Import users"
        description="Creates an account for each line of a CSV file."
      />
      <Stack>
        <Card>
          <Stack>
            <FileInput
              label="CSV file"
              placeholder="Choose a file"
              accept=".csv,text/csv,text/plain"
              leftSection={<IconFileImport size={16} stroke={1.6} />}
              onChange={(file) => void file?.text().then(read)}
              clearable
              clearButtonProps={{ 'aria-label': 'Remove the file' }}
              maw={420}
            />
            <Textarea
              label="Or its text"
              description={
                <>
                  The first line names the columns: {COLUMNS.join(', ')}. Each line needs a username or an e-mail
                  address. Where a password is missing, one is generated.{' '}
                  <Anchor component="button" type="button" size="xs" onClick={() => read(EXAMPLE)}>
                    Show an example
                  </Anchor>
                </>
              }
              value={text}
              onChange={(event) => read(event.currentTarget.value)}
              autosize
              minRows={4}
              maxRows={10}
              spellCheck={false}
              styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 13 } }}
            />
            {parsed !== undefined && 'fault' in parsed && (
              <Alert color="red" icon={<IconAlertTriangle />} title="The file cannot be read" role="alert">
                {parsed.fault}
              </Alert>
            )}
          </Stack>
        </Card>
        {rows.length > 0 && (
          <section aria-label="Preview">
            <Group justify="space-between" mb="sm">
              <div>
                <Title order={2} size="h4">
                  Preview
                </Title>
                <Text size="sm" c="dimmed">
                  {formatNumber(sendable.length)} of {formatNumber(rows.length)} lines can be sent.
                  {generated > 0 && ` ${formatNumber(generated)} passwords are generated; save them afterwards.`}
                </Text>
              </div>
              <Button disabled={sendable.length === 0} onClick={() => setStarted(sendable)}>
                Create {formatNumber(sendable.length)} users
              </Button>
            </Group>
            <Preview rows={rows} />
          </section>
        )}
      </Stack>
    </>
  );
}

function Preview({ rows }: { rows: UserRow[] }) {
  const shown = [
    ...rows.filter(({ fault }) => fault !== undefined),
    ...rows.filter(({ fault }) => fault === undefined),
  ];
  return (
    <>
      <Card padding={0}>
        <Table.ScrollContainer minWidth={700} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
          <Table aria-label="Preview" horizontalSpacing="md">
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Line</Table.Th>
                {COLUMNS.map((name) => (
                  <Table.Th key={name} scope="col">
                    {name}
                  </Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {shown.slice(0, MAX_SHOWN).map((row) => (
                <Table.Tr key={row.line}>
                  <Table.Td>{row.line}</Table.Td>
                  {row.fault === undefined ? (
                    COLUMNS.map((name) => (
                      <Table.Td key={name}>
                        {name === 'password' ? (
                          <Badge color="gray">{row.isGenerated ? 'generated' : 'from the file'}</Badge>
                        ) : (
                          (row.body[name] ?? '–')
                        )}
                      </Table.Td>
                    ))
                  ) : (
                    <Table.Td colSpan={COLUMNS.length} c="var(--mantine-color-error)">
                      {row.fault} <Code>{row.body.username ?? row.body.email ?? ''}</Code>
                    </Table.Td>
                  )}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </Card>
      {rows.length > MAX_SHOWN && (
        <Text size="xs" c="dimmed" mt="xs">
          The first {MAX_SHOWN} lines of {formatNumber(rows.length)}, those with faults first.
        </Text>
      )}
    </>
  );
}
