import { Code, Group } from '@mantine/core';
import { CopyIcon } from './copy-icon';

interface CopyTextProps {
  /** What it is, for screen readers: "the id". */
  label: string;
  value: string;
}

/** A short value in a text, such as an id, with a button that copies it. A click into the value selects it whole. */
export function CopyText({ label, value }: CopyTextProps) {
  return (
    <Group gap={2} wrap="nowrap">
      <Code style={{ overflowWrap: 'anywhere', userSelect: 'all' }}>{value}</Code>
      {window.isSecureContext && <CopyIcon label={label} value={value} size="sm" />}
    </Group>
  );
}
