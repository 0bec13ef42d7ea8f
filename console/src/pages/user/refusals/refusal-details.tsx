import { Anchor, Button, Code, Drawer, Stack, Table, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { Link } from '@tanstack/react-router';
import type { components } from '../../../../../sdk/src/schema';
import { CopyText } from '../../../components/copy-text';
import { Time } from '../../../components/time';
import { JudgedLimits } from './judged-limits';
import { REASONS } from './reasons';

type Refusal = components['schemas']['RefusalResponse'];

/** Opens a refusal with every limit that was checked. */
export function RefusalDetails({ refusal }: { refusal: Refusal }) {
  const [isOpen, { open, close }] = useDisclosure();
  const { api, at, code, keyId, limits, requestId, violated } = refusal;
  const reason = REASONS[code];
  return (
    <>
      <Button size="xs" variant="default" onClick={open} aria-label={`Explain the refusal ${requestId}`}>
        Explain
      </Button>
      <Drawer opened={isOpen} onClose={close} title={reason?.title ?? code} position="right" size="md">
        <Stack>
          {reason !== undefined && <Text size="sm">{reason.next}</Text>}
          <JudgedLimits limits={limits} violated={violated} />
          <Table variant="vertical" aria-label="The call">
            <Table.Tbody>
              <Table.Tr>
                <Table.Th scope="row">At</Table.Th>
                <Table.Td>
                  <Time at={at} />
                </Table.Td>
              </Table.Tr>
              <Table.Tr>
                <Table.Th scope="row">API</Table.Th>
                <Table.Td>{api ?? '–'}</Table.Td>
              </Table.Tr>
              <Table.Tr>
                <Table.Th scope="row">Key</Table.Th>
                <Table.Td style={{ overflowWrap: 'anywhere' }}>
                  <Anchor size="sm" component={Link} to={`/keys/${keyId}`}>
                    {keyId}
                  </Anchor>
                </Table.Td>
              </Table.Tr>
              <Table.Tr>
                <Table.Th scope="row">Request id</Table.Th>
                <Table.Td>
                  <CopyText label="the request id" value={requestId} />
                </Table.Td>
              </Table.Tr>
              <Table.Tr>
                <Table.Th scope="row">Code</Table.Th>
                <Table.Td>
                  <Code>{code}</Code>
                </Table.Td>
              </Table.Tr>
            </Table.Tbody>
          </Table>
          <Text size="xs" c="dimmed">
            The numbers are those of the moment of the call.
          </Text>
        </Stack>
      </Drawer>
    </>
  );
}
