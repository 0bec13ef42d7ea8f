import { Button, Card, Group, PasswordInput, Stack } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ProblemAlert } from '../../../components/problem-alert';
import { ApiSelect } from './api-select';
import { Verdict } from './verdict';

/** Asks what would happen to a call with a secret now, without charging anything. */
export function CheckSecret() {
  const [key, setKey] = useState('');
  const [slug, setSlug] = useState<string | null>(null);
  const check = useMutation({
    mutationFn: (body: { key: string; api: string }) =>
      answer(api.POST('/v1/verify', { body: { ...body, cost: 1, dryRun: true } })),
  });
  return (
    <Stack maw={760}>
      <Card>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (slug !== null) check.mutate({ key: key.trim(), api: slug });
          }}
        >
          <Stack>
            <PasswordInput
              label="Secret of the API key"
              description="It is sent to this server only, and nothing is charged."
              autoComplete="off"
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
            />
            <ApiSelect value={slug} onChange={setSlug} />
            <Group>
              <Button type="submit" loading={check.isPending} disabled={key.trim() === '' || slug === null}>
                Check
              </Button>
            </Group>
          </Stack>
        </form>
      </Card>
      <ProblemAlert error={check.error} />
      <div role="status">{check.data !== undefined && <Verdict verdict={check.data} />}</div>
    </Stack>
  );
}
