import { SegmentedControl, Stack, Textarea, TextInput } from '@mantine/core';

/** What calls get: a fixed text, or the response of a service. */
export interface ApiResponseValues {
  kind: 'answer' | 'upstream';
  answer: string;
  upstream: string;
}

interface ResponseFieldsProps {
  values: ApiResponseValues;
  onChange: (part: Partial<ApiResponseValues>) => void;
  errors: Record<string, unknown>;
}

/** Returns the fields of the API for these values. */
export function responseOf({ kind, answer, upstream }: ApiResponseValues) {
  return kind === 'answer' ? { answer, upstream: null } : { answer: null, upstream };
}

/** Chooses what calls get. */
export function ResponseFields({ values, onChange, errors }: ResponseFieldsProps) {
  return (
    <Stack gap="sm">
      <SegmentedControl
        aria-label="Response"
        data={[
          { value: 'answer', label: 'Fixed text' },
          { value: 'upstream', label: 'Upstream' },
        ]}
        value={values.kind}
        onChange={(kind) => onChange({ kind })}
        style={{ alignSelf: 'flex-start' }}
      />
      {values.kind === 'answer' ? (
        <Textarea
          label="Text"
          description="Returned for each call that is granted."
          autosize
          minRows={3}
          maxRows={12}
          value={values.answer}
          onChange={(event) => onChange({ answer: event.currentTarget.value })}
          error={errors.answer as string | undefined}
        />
      ) : (
        <TextInput
          label="URL"
          description="Calls that are granted are forwarded to it."
          placeholder="http://127.0.0.1:8080/maps"
          type="url"
          spellCheck={false}
          value={values.upstream}
          onChange={(event) => onChange({ upstream: event.currentTarget.value })}
          error={errors.upstream as string | undefined}
        />
      )}
    </Stack>
  );
}
