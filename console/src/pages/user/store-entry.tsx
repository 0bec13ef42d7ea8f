import { Alert, Button, Code, Drawer, Group, NumberInput, Skeleton, Stack, Text, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../api/answer';
import { api } from '../../api/client';
import type { StoreText } from '../../api/store-text';
import { confirmDelete } from '../../components/confirm-delete';
import { faultOfJson, JsonEditor } from '../../components/json-editor';
import { ProblemAlert } from '../../components/problem-alert';
import { formatRelative, Time } from '../../components/time';
import { useMutationWithNotice } from '../../components/use-mutation-with-notice';
import { Conflict, indented, readValue, secondsLeft, writeValue, type StoredValue } from './store-requests';

/** What is open: an entry of the list, or a new one below a prefix. */
export type Opened = StoreText | { newBelow: string };

interface StoreEntryProps {
  opened: Opened | undefined;
  onClose: () => void;
}

/** A drawer in which an entry is read, changed, made and deleted. */
export function StoreEntry({ opened, onClose }: StoreEntryProps) {
  const title = opened === undefined ? '' : 'key' in opened ? 'Entry' : 'New entry';
  return (
    <Drawer opened={opened !== undefined} onClose={onClose} position="right" size="xl" title={title}>
      {opened !== undefined &&
        ('key' in opened ? (
          <LoadedEntry entry={opened} onClose={onClose} />
        ) : (
          <EntryForm prefix={opened.newBelow} onClose={onClose} />
        ))}
    </Drawer>
  );
}

function LoadedEntry({ entry, onClose }: { entry: StoreText; onClose: () => void }) {
  const { data, error, refetch, isPending } = useQuery({
    queryKey: ['store', 'me', 'entry', entry.key],
    queryFn: () => readValue(entry.key),
    // The form starts from what is stored when the drawer opens, and nothing replaces what is typed.
    gcTime: 0,
    staleTime: Infinity,
  });
  if (isPending) return <Skeleton height={320} />;
  if (data === null) {
    return (
      <Alert color="orange" title="This entry no longer exists">
        It was deleted or has expired. Reload the list.
      </Alert>
    );
  }
  if (data === undefined) return <ProblemAlert error={error} onRetry={() => refetch()} />;
  return <EntryForm entry={entry} stored={data} onClose={onClose} />;
}

interface EntryFormProps {
  /** Missing for a new entry. */
  entry?: StoreText;
  stored?: StoredValue;
  prefix?: string;
  onClose: () => void;
}

function EntryForm({ entry, stored, prefix = '', onClose }: EntryFormProps) {
  const queries = useQueryClient();
  const [key, setKey] = useState(entry?.key ?? prefix);
  const [text, setText] = useState(stored === undefined ? '' : indented(stored.text));
  const [etag, setEtag] = useState(stored?.etag);
  const [ttl, setTtl] = useState<number | ''>();
  const fault = text.trim() === '' ? null : faultOfJson(text);
  const save = useMutationWithNotice({
    mutationFn: (over: { etag: string | undefined }) => {
      const seconds = ttl ?? (entry && secondsLeft(entry));
      return writeValue(key, text, seconds === '' ? undefined : seconds, over.etag);
    },
    success: 'The entry is saved',
    invalidates: [['store', 'me']],
    // The page shows errors itself.
    form: { setErrors: () => undefined },
    onSuccess: onClose,
  });
  const conflict = save.error instanceof Conflict ? save.error : undefined;
  const take = ({ text: theirs, etag: theirTag }: StoredValue): void => {
    setText(indented(theirs));
    setEtag(theirTag);
    save.reset();
  };
  const remove = (): void =>
    confirmDelete({
      what: `the entry “${key}”`,
      onConfirm: async () => {
        await answer(api.DELETE('/v1/store/{key}', { params: { path: { key }, header: { 'If-Match': etag } } }));
        await queries.invalidateQueries({ queryKey: ['store', 'me'] });
        onClose();
      },
    });

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (fault === null) save.mutate({ etag });
      }}
    >
      <Stack>
        {entry === undefined ? (
          <TextInput
            label="Key"
            description="1 to 512 bytes. Parts separated by / become levels of the tree."
            value={key}
            onChange={(event) => setKey(event.currentTarget.value)}
            required
            withAsterisk={false}
            spellCheck={false}
            autoCapitalize="none"
            data-autofocus
          />
        ) : (
          <div>
            <Code block style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
              {key}
            </Code>
            <Text size="xs" c="dimmed" mt={4}>
              Version {entry.version}, expires <Time at={entry.expiresAt} as="relative" />
            </Text>
          </div>
        )}
        <JsonEditor
          label={conflict === undefined ? 'Value' : 'Your value'}
          description="JSON. Its text is kept: numbers digit for digit, escapes, and the order of names."
          value={text}
          onChange={setText}
          error={fault}
        />
        <NumberInput
          label="Expires after (seconds)"
          description={describeTtl(ttl ?? (entry && secondsLeft(entry)) ?? '')}
          placeholder="never"
          min={1}
          allowDecimal={false}
          thousandSeparator
          value={ttl ?? (entry && secondsLeft(entry)) ?? ''}
          onChange={(value) => setTtl(value === '' ? '' : Number(value))}
        />
        {conflict !== undefined && (
          <ConflictChoice
            conflict={conflict}
            onKeepMine={() => {
              const now = conflict.stored?.etag;
              setEtag(now);
              save.mutate({ etag: now });
            }}
            onTakeTheirs={take}
          />
        )}
        <ProblemAlert error={conflict === undefined ? save.error : null} />
        <Group justify="space-between" gap="xs">
          {entry === undefined ? (
            <span />
          ) : (
            <Button color="red" variant="light" onClick={remove}>
              Delete
            </Button>
          )}
          <Group gap="xs">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            {conflict === undefined && (
              <Button type="submit" loading={save.isPending} disabled={text.trim() === '' || fault !== null}>
                {entry === undefined ? 'Create' : 'Save'}
              </Button>
            )}
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

function describeTtl(seconds: number | ''): string {
  if (seconds === '') return 'Empty: the entry stays until it is deleted.';
  return `It expires ${formatRelative(new Date(Date.now() + seconds * 1_000).toISOString())}.`;
}

interface ConflictChoiceProps {
  conflict: Conflict;
  onKeepMine: () => void;
  onTakeTheirs: (stored: StoredValue) => void;
}

/** Shows the stored value beside the typed one, and lets the reader choose. */
function ConflictChoice({ conflict: { stored }, onKeepMine, onTakeTheirs }: ConflictChoiceProps) {
  return (
    <Alert
      color="orange"
      role="alert"
      title={stored === null ? 'The entry was deleted meanwhile' : 'Another value was stored meanwhile'}
    >
      <Stack>
        <Text size="sm">
          {stored === null
            ? 'Nothing was written. Your value can be stored as a new entry.'
            : 'Nothing was written. Compare the stored value with yours above, which you can still change.'}
        </Text>
        {stored !== null && (
          <JsonEditor label="Stored value" value={indented(stored.text)} onChange={() => undefined} readOnly />
        )}
        <Group gap="xs">
          {stored !== null && (
            <Button variant="default" onClick={() => onTakeTheirs(stored)}>
              Take the stored value
            </Button>
          )}
          <Button color="orange" variant="light" onClick={onKeepMine}>
            {stored === null ? 'Store my value' : 'Replace it with my value'}
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}
