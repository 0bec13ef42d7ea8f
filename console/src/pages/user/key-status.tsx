import { Badge, Group } from '@mantine/core';
import type { components } from '../../../../sdk/src/schema';

export type Key = components['schemas']['KeyResponse'];

function hasPassed(at: string): boolean {
  return Date.parse(at) <= Date.now();
}

/** Whether a key can be used, in a word. */
export function KeyStatus({ disabled, expiresAt }: Pick<Key, 'disabled' | 'expiresAt'>) {
  if (disabled) return <Badge color="gray">Disabled</Badge>;
  if (expiresAt !== null && hasPassed(expiresAt)) return <Badge color="red">Expired</Badge>;
  return <Badge color="green">Active</Badge>;
}

const SHOWN = 3;

/** The APIs that a key may call. */
export function Scopes({ scopes }: Pick<Key, 'scopes'>) {
  if (scopes.length === 0) return <Badge color="gray">none</Badge>;
  return (
    <Group gap={4}>
      {scopes.slice(0, SHOWN).map((scope) => (
        <Badge key={scope} color="gray">
          {scope === '*' ? 'all APIs' : scope}
        </Badge>
      ))}
      {scopes.length > SHOWN && <Badge color="gray">+{scopes.length - SHOWN}</Badge>}
    </Group>
  );
}
