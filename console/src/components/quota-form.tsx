import { Stack } from '@mantine/core';
import type { QueryKey } from '@tanstack/react-query';
import { useState } from 'react';
import { FormActions } from './form-actions';
import { formErrors } from './form-errors';
import { limitName } from './limit-bar';
import { LimitFields, type LimitDto } from './limit-fields';
import { ProblemAlert } from './problem-alert';
import { useMutationWithNotice } from './use-mutation-with-notice';

interface QuotaFormProps {
  set: (limit: LimitDto) => Promise<unknown>;
  queryKey: QueryKey;
  initial: { limit: LimitDto; isNew: boolean };
  onDone: () => void;
}

/** Sets a quota: meter, window and limit. */
export function QuotaForm({ set, queryKey, initial, onDone }: QuotaFormProps) {
  const [limit, setLimit] = useState(initial.limit);
  const [errors, setErrors] = useState<Record<string, string>>({});
  const { mutate, isPending, error } = useMutationWithNotice({
    mutationFn: (value: LimitDto) => set(value),
    success: (_data, value) => `Quota ${limitName(value)} set`,
    invalidates: [queryKey],
    form: { setErrors },
    onSuccess: onDone,
  });
  const isShown = Object.keys(formErrors(error)).every((field) => ['meter', 'window', 'limit'].includes(field));
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setErrors({});
        mutate(limit);
      }}
    >
      <Stack>
        <LimitFields value={limit} onChange={setLimit} isFixed={!initial.isNew} errors={errors} />
        <ProblemAlert error={error} showsFields={!isShown} />
        <FormActions onCancel={onDone} isPending={isPending}>
          Save
        </FormActions>
      </Stack>
    </form>
  );
}
