import { Badge, Group } from '@mantine/core';
import type { components } from '../../../../sdk/src/schema';
import { isPast } from '../../components/time';

export type Key = components['schemas']['KeyResponse'];

/** Whether a key can be used, in a word. */
export function KeyStatus({ disabled, expiresAt }: Pick<Key, 'disabled' | 'expiresAt'>) {
  if (disabled) return <Badge color="gray">disabled</Badge>;
  if (expiresAt !== null && isPast(expiresAt)) return <Badge color="red">expired</Badge>;
  return <Badge color="green">active</Badge>;
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
