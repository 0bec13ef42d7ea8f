import { ActionIcon, TextInput, Tooltip } from '@mantine/core';
import { IconSelectAll } from '@tabler/icons-react';
import { useRef } from 'react';
import { CopyIcon } from './copy-icon';

interface CopyFieldProps {
  label: string;
  value: string;
  description?: string;
}

/** A value to copy, in a read-only field that also selects as a whole. */
export function CopyField({ label, value, description }: CopyFieldProps) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <TextInput
      ref={input}
      label={label}
      description={description}
      value={value}
      readOnly
      onFocus={(event) => event.currentTarget.select()}
      styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
      rightSection={
        window.isSecureContext ? (
          <CopyIcon label={label} value={value} />
        ) : (
          <Tooltip label="Select it, then copy it with the keyboard">
            <ActionIcon
              variant="subtle"
              color="gray"
              onClick={() => input.current?.focus()}
              aria-label={`Select ${label}`}
            >
              <IconSelectAll size={16} />
            </ActionIcon>
          </Tooltip>
        )
      }
    />
  );
}
