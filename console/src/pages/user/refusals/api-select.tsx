import { Select } from '@mantine/core';
import { useCatalogue } from '../../../api/use-catalogue';

interface ApiSelectProps {
  value: string | null;
  onChange: (slug: string | null) => void;
}

/** One API of the catalogue, by name. */
export function ApiSelect({ value, onChange }: ApiSelectProps) {
  const catalogue = useCatalogue();
  return (
    <Select
      label="API"
      placeholder="Choose an API"
      data={(catalogue.data ?? []).map(({ slug, name }) => ({
        value: slug,
        label: name === slug ? slug : `${name} (${slug})`,
      }))}
      value={value}
      onChange={onChange}
      searchable
      error={catalogue.error?.message}
    />
  );
}
