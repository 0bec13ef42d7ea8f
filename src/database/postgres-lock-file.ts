import { link, readFile, rename, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** What PostgreSQL writes of itself into postmaster.pid. */
export interface LockFile {
  pid: number;
  /** null, as is the next: not written yet. */
  port: number | null;
  /** Folder of the Unix socket; null also when it listens on TCP only. */
  socketDir: string | null;
  status: string;
}

/** How long a file must stay unreadable before it counts as damaged: one that is being written is empty for a moment. */
const WRITING = 1_000;

/** Reads postmaster.pid or a socket's lock file; null when it is missing or damaged. */
export async function readLockFile(path: string): Promise<LockFile | null> {
  return parse(await readFile(path, 'utf8').catch(() => ''));
}

/**
 * Renames a lock file that holds no process number, as a power failure leaves one: PostgreSQL refuses to start beside
 * it. This loses no protection: PostgreSQL also sees by its shared memory that another one is on the folder.
 */
export async function setAsideIfDamaged(path: string): Promise<boolean> {
  const before = await damage(path);
  if (before === null) return false;
  await sleep(WRITING);
  if ((await damage(path)) !== before) return false;
  const aside = `${path}.damaged`;
  await rename(path, aside).catch(() => undefined);
  // Replaced by a good one at the last moment: back with it, unless there is yet another.
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
