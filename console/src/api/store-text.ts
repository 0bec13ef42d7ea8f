import { findNodeAtLocation, parseTree, type Node } from 'jsonc-parser';

/** A store entry whose value is JSON text: parsing would round long numbers, reorder keys and drop repeated ones. */
export interface StoreText {
  key: string;
  /** Missing where the list has no values. */
  value?: string;
  version: number;
  expiresAt: string | null;
}

/** Returns the entries of a response of GET /v1/store (`list` = `data`) or POST /v1/store/read (`list` = `entries`). */
export function storeEntries(text: string, list: 'data' | 'entries'): StoreText[] {
  const root = parseTree(text);
  const items = (root && findNodeAtLocation(root, [list])?.children) ?? [];
  return items.map((item) => {
    const member = (name: string): Node | undefined => findNodeAtLocation(item, [name]);
    const value = member('value');
    return {
      key: String(member('key')?.value),
      version: Number(member('version')?.value),
      expiresAt: (member('expiresAt')?.value ?? null) as string | null,
      ...(value && { value: text.slice(value.offset, value.offset + value.length) }),
    };
  });
}

/** Returns the body of POST /v1/store/write with values as the JSON text that they are. */
export function writeBody(
  entries: { key: string; value: string; ttlSeconds?: number; ifVersion?: number }[],
  options: { onConflict?: 'skip' | 'replace' | 'fail'; atomic?: boolean } = {},
): string {
  const items = entries.map(({ value, ...rest }) => `${JSON.stringify(rest).slice(0, -1)},"value":${value}}`);
  return `${JSON.stringify({ ...options, entries: [] }).slice(0, -2)}${items.join(',')}]}`;
}
