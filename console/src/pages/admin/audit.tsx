import { Alert, Button, Card, Code, Group, Stack, Switch, Text, TextInput } from '@mantine/core';
import { IconCircleCheck, IconShieldCheck, IconX } from '@tabler/icons-react';
import { useMutation } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import { CopyField } from '../../components/copy-field';
import { formatNumber } from '../../components/num';
import { givenTexts } from '../../components/given-texts';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { AuditList } from './audit/audit-list';

/** Who changed what, and whether the log is whole. */
export default function Audit(): ReactNode {
  const { refreshes, ...filter } = useSearch({ from: '/shell/audit' });
  const navigate = useNavigate({ from: '/audit' });
  const [texts, setTexts] = useState({ actor: '', action: '', target: '', ...filter });
  // A session is refreshed with each page load, which would hide everything else.
  const isWithoutRefreshes = refreshes === undefined && filter.action === undefined;
  const field = (name: keyof typeof texts) => ({
    value: texts[name],
    flex: '1 1 150px',
    maw: { sm: 260 },
    onChange: (event: React.ChangeEvent<HTMLInputElement>) => setTexts({ ...texts, [name]: event.currentTarget.value }),
  });
  const apply = (next: typeof texts): void =>
    void navigate({
      search: { ...givenTexts(next), ...(refreshes === undefined ? {} : { refreshes }) },
      replace: true,
    });
  const clear = (): void => {
    const none = { actor: '', action: '', target: '' };
    setTexts(none);
    apply(none);
  };

  return (
    <>
      <PageHeader title="Audit" description="Who changed what, newest first." />
      <Verification />
      <form
        onSubmit={(event) => {
          event.preventDefault();
          apply(texts);
        }}
      >
        <Group align="flex-end" gap="sm" mb="md">
          <TextInput label="Actor" placeholder="Username, e-mail or id" {...field('actor')} />
          <TextInput label="Action" placeholder="user.update or quota.*" {...field('action')} />
          <TextInput label="Target" placeholder="Username, id, slug, platform" {...field('target')} />
          <Button type="submit" variant="default">
            Filter
          </Button>
          {filter.action === undefined && (
            <Switch
              label="Token refreshes"
              checked={!isWithoutRefreshes}
              onChange={({ currentTarget: { checked } }) =>
                void navigate({ search: { ...filter, ...(checked ? { refreshes: 'yes' } : {}) }, replace: true })
              }
              mb={8}
            />
          )}
          {Object.keys(filter).length > 0 && (
            <Button variant="subtle" color="gray" leftSection={<IconX size={14} />} onClick={clear}>
              Clear
            </Button>
          )}
        </Group>
      </form>
      <AuditList filter={isWithoutRefreshes ? { ...filter, action: '-session.refresh' } : filter} />
    </>
  );
}

/** Checks the chain of entries, perhaps against a head that was noted before. */
function Verification() {
  const [head, setHead] = useState('');
  const verification = useMutation({
    mutationFn: () =>
      answer(api.GET('/v1/audit/verify', { params: { query: head.trim() === '' ? {} : { head: head.trim() } } })),
  });
  const { data, error, isPending, mutate } = verification;
  return (
    <Card mb="lg">
      <>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            mutate();
          }}
        >
          <Group align="flex-end" gap="sm">
            <TextInput
              label="Head noted earlier (optional)"
              description="Detects entries that were removed at the end."
              value={head}
              onChange={(event) => setHead(event.currentTarget.value)}
              spellCheck={false}
              flex="1 1 260px"
              maw={560}
            />
            <Button type="submit" variant="default" leftSection={<IconShieldCheck size={16} />} loading={isPending}>
              Verify the chain
            </Button>
          </Group>
        </form>
        <div role="status">
          {data?.ok === true && (
            <Alert mt="md" color="green" icon={<IconCircleCheck />} title="No sealed entry was altered or removed">
              <Stack gap="xs">
                <Text size="sm">
                  {formatNumber(data.sealed)} entries are in the chain, {formatNumber(data.unsealed)} of the last second
                  are not yet.
                </Text>
                {data.head !== null && (
                  <CopyField label="Head" description="Note it outside of the platform." value={data.head} />
                )}
              </Stack>
            </Alert>
          )}
          {data?.ok === false && (
            <Alert mt="md" color="red" title={`An entry was ${data.first?.fault ?? 'altered or removed'}`}>
              <Text size="sm">
                {typeof data.first?.position === 'number' && (
                  <>Position {formatNumber(data.first.position)} in the chain. </>
                )}
                {typeof data.first?.id === 'string' && (
                  <>
                    Entry <Code>{data.first.id}</Code>.
                  </>
                )}
              </Text>
              <Text size="sm">Compare the log with a backup of the database, and look who can write to it.</Text>
            </Alert>
          )}
          <ProblemAlert error={error} />
        </div>
      </>
    </Card>
  );
}
