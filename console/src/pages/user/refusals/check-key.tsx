import { Card, Select, Stack, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import type { Limit } from '../../../api/problem';
import type { components } from '../../../../../sdk/src/schema';
import { useUser } from '../../../api/use-user';
import { ProblemAlert } from '../../../components/problem-alert';
import { ApiSelect } from './api-select';
import { Verdict } from './verdict';

type Key = components['schemas']['KeyResponse'];
type Quota = components['schemas']['QuotaResponse'];

/** Whether the scopes of a key cover an API: `*`, its slug, or a prefix that ends in `*`. */
function covers(scopes: string[], slug: string): boolean {
  return scopes.some((scope) => (scope.endsWith('*') ? slug.startsWith(scope.slice(0, -1)) : scope === slug));
}

function hasLimit(quota: Quota): quota is Quota & Limit {
  return quota.limit !== null;
}

/** Reads the limits that apply to a call of an API with a key, as they are now. */
async function stateOf(key: Key, slug: string, isAdmin: boolean, signal: AbortSignal) {
  const path = { user: key.owner };
  const [current, own, platform, owner] = await Promise.all([
    answer(api.GET('/v1/keys/{id}', { params: { path: { id: key.id } }, signal })),
    answer(api.GET('/v1/users/{user}/quotas', { params: { path }, signal })),
    isAdmin ? answer(api.GET('/v1/platform/quotas', { signal })) : { data: [] },
    answer(api.GET('/v1/users/{user}', { params: { path }, signal })),
  ]);
  const limits = [...current.limits, ...own.data, ...platform.data]
    .filter(hasLimit)
    .filter(({ meter }) => meter === 'api:*' || meter === `api:${slug}`);
  const isExpired = current.expiresAt !== null && Date.parse(current.expiresAt) <= Date.now();
  const code =
    current.disabled || isExpired
      ? ('invalid_api_key' as const)
      : owner.status === 'disabled'
        ? ('account_disabled' as const)
        : !covers(current.scopes, slug)
          ? ('scope_denied' as const)
          : limits.some(({ remaining }) => remaining === 0)
            ? ('quota_exceeded' as const)
            : ('ok' as const);
  return { allowed: code === 'ok', code, limits };
}

/** Says what would happen to a call with a key of the list now. */
export function CheckKey() {
  const isAdmin = useUser().role === 'admin';
  const [ownerText, setOwner] = useState('');
  const [owner] = useDebouncedValue(ownerText.trim(), 300);
  const [id, setId] = useState<string | null>(null);
  const [slug, setSlug] = useState<string | null>(null);
  const keys = useQuery({
    queryKey: ['keys', 'of', owner],
    queryFn: ({ signal }) => {
      const query = { limit: 100, ...(owner === '' ? {} : { owner }) };
      return answer(api.GET('/v1/keys', { params: { query }, signal }));
    },
  });
  const key = keys.data?.data.find((each) => each.id === id);
  const state = useQuery({
    queryKey: ['quotas', 'of-key', key?.id, slug],
    queryFn: ({ signal }) => (key === undefined || slug === null ? null : stateOf(key, slug, isAdmin, signal)),
    enabled: key !== undefined && slug !== null,
  });
  return (
    <Stack maw={760}>
      <Card>
        <Stack>
          {isAdmin && (
            <TextInput
              label="Owner"
              description="Username, e-mail address or id. Empty: you."
              value={ownerText}
              onChange={(event) => setOwner(event.currentTarget.value)}
              spellCheck={false}
            />
          )}
          <Select
            label="API key"
            data={(keys.data?.data ?? []).map(({ id: value, name, hint }) => ({ value, label: `${name} (${hint}…)` }))}
            value={key === undefined ? null : id}
            onChange={setId}
            placeholder={keys.data?.data.length === 0 ? 'No keys' : 'Choose a key'}
            searchable
          />
          <ApiSelect value={slug} onChange={setSlug} />
        </Stack>
      </Card>
      <ProblemAlert error={keys.error ?? state.error} />
      <div role="status">{state.data && <Verdict verdict={state.data} />}</div>
    </Stack>
  );
}
