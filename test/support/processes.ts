import { readFile } from 'node:fs/promises';
import { Api, sendExactly, uniqueName } from './api.js';
import type { TestServer } from './server.js';
import { until } from './until.js';

/** Returns the child processes; those of the primary are its workers. */
export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8');
  return text.trim().split(/\s+/).filter(Boolean).map(Number);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns the processes that answer requests on new connections, which go to one worker after the other. The server
 * must log at the level `debug`.
 */
export async function answeringProcesses(server: TestServer): Promise<number[]> {
  const begin = server.output.length;
  const ids = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const id = uniqueName();
    ids.add(id);
    const { status } = await sendExactly(new Api(server.url), 'GET', '/readyz', { 'x-request-id': id });
    if (status !== 200) throw new Error(`/readyz answered ${String(status)}.`);
  }
  const lines = (): { pid: number; reqId?: string }[] =>
    server.output
      .slice(begin)
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line))
      .filter(({ reqId }) => ids.has(reqId));
  await until(() => lines().length === ids.size);
  return [...new Set(lines().map(({ pid }) => pid))].sort((a, b) => a - b);
}
