import { ActionIcon, Button, Fieldset, Group, NumberInput, Select, Stack, Text } from '@mantine/core';
import type { UseFormReturnType } from '@mantine/form';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import type { KeyValues } from './key-fields';
import { callMeters, useApiSlugs, WINDOWS, type Window } from './api-choices';

export interface LimitRow {
  meter: string;
  window: Window;
  limit: number | '';
}

export interface LimitRows {
  limits: LimitRow[];
}

/** A limit in one line: how many calls, of which API, in which window. */
export function LimitFields<V extends LimitRows>({ form, index }: { form: UseFormReturnType<V>; index: number }) {
  const slugs = useApiSlugs();
  const path = (name: keyof LimitRow) => form.getInputProps(`limits.${String(index)}.${name}`);
  return (
    <>
      <NumberInput
        label="Calls"
        min={0}
        allowDecimal={false}
        allowNegative={false}
        thousandSeparator
        required
        withAsterisk={false}
        w={120}
        {...path('limit')}
      />
      <Select label="Window" data={WINDOWS} allowDeselect={false} w={130} {...path('window')} />
      <Select
        label="API"
        data={callMeters(slugs)}
        searchable
        allowDeselect={false}
        flex={1}
        miw={160}
        {...path('meter')}
      />
    </>
  );
}

export const NEW_LIMIT: LimitRow = { meter: 'api:*', window: 'day', limit: '' };

/** The limits of a new key. */
export function LimitList({ form }: { form: UseFormReturnType<KeyValues & LimitRows> }) {
  const { limits } = form.values;
  return (
    <Fieldset legend="Limits of the key (optional)">
      <Stack gap="sm">
        <Text size="sm" c="dimmed">
          They apply besides your own limits. Later you can only lower them.
        </Text>
        {limits.map((_, index) => (
          <Group key={index} align="flex-end" gap="xs">
            <LimitFields form={form} index={index} />
            <ActionIcon
              variant="subtle"
              color="gray"
              size="lg"
              aria-label={`Remove limit ${String(index + 1)}`}
              onClick={() => form.removeListItem('limits', index)}
            >
              <IconTrash size={16} />
            </ActionIcon>
          </Group>
        ))}
        <Group>
          <Button
            size="xs"
            variant="default"
            leftSection={<IconPlus size={14} />}
            onClick={() => form.insertListItem('limits', NEW_LIMIT)}
          >
            Add a limit
          </Button>
        </Group>
      </Stack>
    </Fieldset>
  );
}
