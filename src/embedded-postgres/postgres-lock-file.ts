import { link, readFile, rename, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** The fields that PostgreSQL writes into postmaster.pid. */
export interface LockFile {
  pid: number;
  /** Null if not written yet. */
  port: number | null;
  /** Folder of the Unix socket. Null if not written yet, or if PostgreSQL listens on TCP only. */
  socketDir: string | null;
  status: string;
}

/**
 * Milliseconds for which a file must stay unreadable to count as damaged: it is empty for a moment while being written.
 */
const WRITING = 1_000;

/** Reads postmaster.pid or the lock file of a socket. Returns null if it is missing or damaged. */
export async function readLockFile(path: string): Promise<LockFile | null> {
  return parse(await readFile(path, 'utf8').catch(() => ''));
}

/**
 * Renames a lock file without a process id, as left by a power failure: PostgreSQL refuses to start while it exists.
 * This is safe: PostgreSQL also detects another server on the folder by its shared memory.
 */
export async function setAsideIfDamaged(path: string): Promise<boolean> {
  const before = await damage(path);
  if (before === null) return false;
  await sleep(WRITING);
  if ((await damage(path)) !== before) return false;
  const aside = `${path}.damaged`;
  await rename(path, aside).catch(() => undefined);
  // If a starting server replaced the file just before the rename, restore it, unless a newer one exists.
  if ((await readLockFile(aside)) !== null) await link(aside, path).catch(() => undefined);
  return true;
}

async function damage(path: string): Promise<string | null> {
  try {
    const text = await readFile(path, 'utf8');
    const { ino, mtimeMs } = await stat(path);
    return parse(text) === null ? `${ino} ${mtimeMs} ${text}` : null;
  } catch {
    return null;
  }
}

function parse(text: string): LockFile | null {
  const [pid = '', , , port = '', socketDir = '', , , status = ''] = text.split('\n').map((line) => line.trim());
  const number = Number.parseInt(pid, 10);
  if (!(number > 0)) return null;
  const portNumber = Number.parseInt(port, 10);
  return {
    pid: number,
    port: portNumber > 0 ? portNumber : null,
    socketDir: socketDir === '' ? null : socketDir,
    status,
  };
}
