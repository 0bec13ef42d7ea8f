import { ActionIcon, CopyButton, TextInput, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy, IconSelectAll } from '@tabler/icons-react';
import { useRef } from 'react';

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
        // Browsers let only pages over HTTPS, or of this machine, write to the clipboard.
        window.isSecureContext ? (
          <CopyButton value={value}>
            {({ copied, copy }) => (
              <Tooltip label={copied ? 'Copied' : 'Copy'}>
                <ActionIcon
                  variant="subtle"
                  color={copied ? 'green' : 'gray'}
                  onClick={copy}
                  aria-label={`Copy ${label}`}
                >
                  {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
                </ActionIcon>
              </Tooltip>
            )}
          </CopyButton>
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
