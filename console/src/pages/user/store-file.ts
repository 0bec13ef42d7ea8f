import { findNodeAtLocation, parseTree, type Node } from 'jsonc-parser';
import { faultOfJson } from '../../components/json-editor';
import type { StoreText } from '../../api/store-text';
import { secondsLeft } from './store-requests';

/** An entry of an imported file. */
export interface FileEntry {
  key: string;
  /** JSON text. */
  value: string;
  ttlSeconds?: number;
}

interface FileContent {
  entries: FileEntry[];
  /** Why lines or items cannot be imported. */
  faults: string[];
}

/** Formats an entry as a line of NDJSON that an import reads. */
export function lineOf(entry: StoreText): string {
  const ttlSeconds = secondsLeft(entry);
  const rest = JSON.stringify({ key: entry.key, ...(ttlSeconds === undefined ? {} : { ttlSeconds }) });
  return `${rest.slice(0, -1)},"value":${entry.value ?? 'null'}}\n`;
}

/** Reads NDJSON, a JSON array of entries, or an object with such an array as `entries` or `data`. */
export function readFile(text: string): FileContent {
  const content: FileContent = { entries: [], faults: [] };
  const lines = text.split('\n');
  const first = lines.find((line) => line.trim() !== '') ?? '';
  if (first.trimStart().startsWith('{') && faultOfJson(first) === null && !/^\s*\{\s*"(entries|data)"/.test(first)) {
    for (const [index, line] of lines.entries()) {
      if (line.trim() !== '') addText(content, line, `Line ${String(index + 1)}`);
    }
  } else {
    readDocument(content, text);
  }
  return withoutRepeats(content);
}

function readDocument(content: FileContent, text: string): void {
  const fault = faultOfJson(text);
  const root = fault === null ? parseTree(text) : undefined;
  const list = root?.type === 'array' ? root : root && (member(root, 'entries') ?? member(root, 'data'));
  if (list?.type !== 'array') {
    content.faults.push(fault ?? 'The file is neither a list of entries nor has one as "entries".');
    return;
  }
  list.children?.forEach((item, index) => add(content, text, item, `Entry ${String(index + 1)}`));
}

function addText(content: FileContent, line: string, where: string): void {
  const fault = faultOfJson(line);
  const node = fault === null ? parseTree(line) : undefined;
  if (node === undefined) content.faults.push(`${where}: ${fault ?? 'no JSON'}`);
  else add(content, line, node, where);
}

function add({ entries, faults }: FileContent, text: string, node: Node, where: string): void {
  const key: unknown = member(node, 'key')?.value;
  const value = member(node, 'value');
  const ttl = member(node, 'ttlSeconds');
  if (typeof key !== 'string' || key === '') faults.push(`${where}: "key" must be a text.`);
  else if (value === undefined) faults.push(`${where}: "value" is missing.`);
  else {
    entries.push({
      key,
      value: text.slice(value.offset, value.offset + value.length),
      ...(typeof ttl?.value === 'number' ? { ttlSeconds: ttl.value } : {}),
    });
  }
}

function member(node: Node, name: string): Node | undefined {
  return node.type === 'object' ? findNodeAtLocation(node, [name]) : undefined;
}

function withoutRepeats({ entries, faults }: FileContent): FileContent {
  const seen = new Set<string>();
  const single: FileEntry[] = [];
  for (const entry of entries) {
    if (seen.has(entry.key)) faults.push(`The key "${entry.key}" is repeated; its first value is taken.`);
    else single.push(entry);
    seen.add(entry.key);
  }
  return { entries: single, faults };
}
