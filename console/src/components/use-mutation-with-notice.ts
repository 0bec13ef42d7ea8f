import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient, type QueryKey } from '@tanstack/react-query';
import { useRef } from 'react';
import { explain } from '../api/explain';
import { isTransient } from '../api/problem';
import { formErrors } from './form-errors';

interface Attempt {
  /** For the header `Idempotency-Key` of requests that create or spend. The same for a repetition after a failure. */
  idempotencyKey: string;
}

interface MutationWithNotice<Data, Variables> {
  mutationFn: (variables: Variables, attempt: Attempt) => Promise<Data>;
  /** The notice after success; none if missing. */
  success?: string | ((data: Data, variables: Variables) => string);
  /** Prefixes of the query keys that the change makes stale. */
  invalidates?: QueryKey[];
  /**
   * The form whose fields show their errors. The page shows everything else with `ProblemAlert`. Without a form, an
   * error is a notice.
   */
  form?: { setErrors: (errors: Record<string, string>) => void };
  onSuccess?: (data: Data, variables: Variables) => unknown;
}

function newKey(): string {
  // `crypto.randomUUID` does not exist where the server is reached over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A change through the API, with a notice of its success and its errors in words. */
export function useMutationWithNotice<Data, Variables = void>({
  mutationFn,
  success,
  invalidates = [],
  form,
  onSuccess,
}: MutationWithNotice<Data, Variables>) {
  const queries = useQueryClient();
  const unanswered = useRef<{ variables: string; idempotencyKey: string }>(undefined);

  return useMutation<Data, Error, Variables>({
    mutationFn: (variables) => {
      const text = JSON.stringify([variables]);
      // After no answer or a 503 the same input is the same request.
      if (unanswered.current?.variables !== text) unanswered.current = { variables: text, idempotencyKey: newKey() };
      return mutationFn(variables, { idempotencyKey: unanswered.current.idempotencyKey });
    },
    onSuccess: async (data, variables) => {
      unanswered.current = undefined;
      if (success !== undefined) {
        notifications.show({
          color: 'green',
          message: typeof success === 'string' ? success : success(data, variables),
        });
      }
      await onSuccess?.(data, variables);
      await Promise.all(invalidates.map((queryKey) => queries.invalidateQueries({ queryKey })));
    },
    onError: (error) => {
      if (!isTransient(error)) unanswered.current = undefined;
      if (form !== undefined) {
        form.setErrors(formErrors(error));
        return;
      }
      const { title, message, next } = explain(error);
      notifications.show({
        color: 'red',
        title,
        message: [message, next].filter(Boolean).join(' '),
        autoClose: 10_000,
      });
    },
  });
}
