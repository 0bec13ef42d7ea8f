import { Select, type SelectProps } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { answer } from '../../../api/answer';
import { api } from '../../../api/client';

interface PlanSelectProps extends Omit<SelectProps, 'data' | 'value' | 'onChange'> {
  /** A slug; null is no plan. */
  value?: string | null;
  onChange?: (slug: string | null) => void;
}

/** One of the plans, or none. */
export function PlanSelect({ value = null, ...props }: PlanSelectProps) {
  const plans = useQuery({
    queryKey: ['plans', 'first'],
    queryFn: ({ signal }) => answer(api.GET('/v1/plans', { params: { query: { limit: 100 } }, signal })),
  });
  const data = (plans.data?.data ?? []).map(({ slug, name }) => ({ value: slug, label: name }));
  const known = value === null || data.some((plan) => plan.value === value);
  return (
    <Select
      label="Plan"
      placeholder="No plan"
      data={known ? data : [{ value, label: value }, ...data]}
      value={value}
      clearable
      clearButtonProps={{ 'aria-label': 'No plan' }}
      {...props}
    />
  );
}
