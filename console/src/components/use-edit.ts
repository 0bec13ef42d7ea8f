import { useForm } from '@mantine/form';
import type { UseQueryResult } from '@tanstack/react-query';
import { useState } from 'react';
import type { Tagged } from '../api/answer';
import { ApiProblem } from '../api/problem';

interface Edit<T, Values> {
  query: Pick<UseQueryResult<Tagged<T>>, 'refetch'>;
  loaded: Tagged<T>;
  /** The fields of the form, as the object has them. */
  toValues: (value: T) => Values;
}

/**
 * The form of an object with an ETag. A save sends `If-Match`; if somebody else has changed one of the fields meanwhile,
 * `conflicts` has them, and what was typed stays. Show them with `Conflicts`.
 */
export function useEdit<T, Values extends object>({ query, loaded, toValues }: Edit<T, Values>) {
  const [base, setBase] = useState(loaded);
  const form = useForm<Values>({ mode: 'controlled', initialValues: toValues(base.value) });
  const [before, now] = [fieldsOf(toValues(base.value)), fieldsOf(toValues(loaded.value))];
  const conflicts = Object.keys(now)
    .filter((field) => !isSame(before[field], now[field]))
    .map((field) => ({ field, stored: now[field] }));

  /** Returns the fields that the reader has changed. */
  const changes = (): Partial<Values> =>
    Object.fromEntries(
      Object.entries(form.getValues()).filter(([field, value]) => !isSame(before[field], value)),
    ) as Partial<Values>;

  /** Runs a change with the ETag of what the form began with. A version that differs in other fields is no conflict. */
  const save = async (send: (etag: string | undefined) => Promise<Tagged<T>>): Promise<T> => {
    let saved: Tagged<T>;
    try {
      saved = await send(conflicts.length === 0 ? loaded.etag : base.etag);
    } catch (error) {
      if (!(error instanceof ApiProblem && error.code === 'version_mismatch')) throw error;
      const { data } = await query.refetch();
      if (data === undefined || !isSame(toValues(data.value), before)) throw error;
      saved = await send(data.etag);
    }
    accept(saved);
    return saved.value;
  };

  const accept = (saved: Tagged<T>): void => {
    setBase(saved);
    form.setInitialValues(toValues(saved.value));
    form.setValues(toValues(saved.value));
    form.resetDirty();
  };

  return {
    form,
    changes,
    hasChanges: Object.keys(changes()).length > 0,
    save,
    conflicts,
    /** Keeps what was typed; the next save replaces what is stored. */
    keepMine: () => setBase(loaded),
    takeTheirs: () => accept(loaded),
  };
}

function fieldsOf(values: object): Record<string, unknown> {
  return values as Record<string, unknown>;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
