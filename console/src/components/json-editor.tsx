import { Input, Skeleton } from '@mantine/core';
import { lazy, Suspense, useId, type ReactNode } from 'react';

const CodeEditor = lazy(() => import('./code-editor'));

interface JsonEditorProps {
  label: string;
  description?: ReactNode;
  error?: ReactNode;
  /** JSON text. It is never parsed and written anew, so that each digit stays. */
  value: string;
  onChange: (text: string) => void;
  readOnly?: boolean;
  /** Default: 240. */
  minHeight?: number;
}

/** Returns why a text is not JSON, or null. Use it as a form's validator. */
export function faultOfJson(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A field for JSON with line numbers, colours and the place of errors. Escape, then Tab, leaves it. */
export function JsonEditor({ label, description, error, minHeight = 240, ...editor }: JsonEditorProps) {
  const id = useId();
  return (
    <Input.Wrapper label={label} labelElement="div" labelProps={{ id }} description={description} error={error}>
      <Suspense fallback={<Skeleton height={minHeight} mt={4} />}>
        <CodeEditor labelledBy={id} minHeight={minHeight} {...editor} />
      </Suspense>
    </Input.Wrapper>
  );
}
