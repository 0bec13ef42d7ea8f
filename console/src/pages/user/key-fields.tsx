import { Select, Stack, TagsInput, TextInput } from '@mantine/core';
import '@mantine/core/styles/Pill.css';
import '@mantine/core/styles/PillsInput.css';
import type { UseFormReturnType } from '@mantine/form';
import type { Key } from './key-status';
import { useApiSlugs } from './api-choices';
import { fromLocalInput, toLocalInput } from './local-time';

export interface KeyValues {
  name: string;
  access: 'all' | 'some';
  scopes: string[];
  /** Of an input of type `datetime-local`. */
  expiresAt: string;
}

/** What the form of a key starts from. */
export function keyValues(key?: Key): KeyValues {
  if (key === undefined) return { name: '', access: 'all', scopes: [], expiresAt: '' };
  const isAll = key.scopes.length === 1 && key.scopes[0] === '*';
  return {
    name: key.name,
    access: isAll ? 'all' : 'some',
    scopes: isAll ? [] : key.scopes,
    expiresAt: toLocalInput(key.expiresAt),
  };
}

/** What the API gets of a form. */
export function keyBody({ name, access, scopes, expiresAt }: KeyValues) {
  return { name, scopes: access === 'all' ? ['*'] : scopes, expiresAt: fromLocalInput(expiresAt) };
}

/** The fields of a key that can be changed. */
export function KeyFields<V extends KeyValues>({ form }: { form: UseFormReturnType<V> }) {
  const slugs = useApiSlugs();
  const { access } = form.values;
  // Errors of single scopes have names such as scopes.0.
  const scopeErrors = Object.entries(form.errors).filter(([name]) => name.startsWith('scopes'));
  return (
    <Stack>
      <TextInput
        label="Name"
        description="Says where the key is used."
        placeholder="billing service"
        required
        withAsterisk={false}
        maxLength={100}
        data-autofocus
        {...form.getInputProps('name')}
      />
      <Select
        label="May call"
        data={[
          { value: 'all', label: 'All APIs' },
          { value: 'some', label: 'Only the APIs below' },
        ]}
        allowDeselect={false}
        {...form.getInputProps('access')}
      />
      {access === 'some' && (
        <TagsInput
          label="APIs (scopes)"
          description="A slug, or the start of slugs followed by *. Without any, the key can call nothing."
          placeholder="Choose or type"
          data={slugs}
          clearable
          clearButtonProps={{ 'aria-label': 'Remove all scopes' }}
          {...form.getInputProps('scopes')}
          error={scopeErrors[0]?.[1]}
        />
      )}
      <TextInput
        type="datetime-local"
        label="Expires (optional)"
        description="In your time zone. Empty: never."
        {...form.getInputProps('expiresAt')}
      />
    </Stack>
  );
}
