import type { Env } from '../config/env.js';
import { connect } from './connect.js';
import { dataSourceOptions } from './options.js';

/** What a database server says about itself. */
export interface ServerFacts {
  version: string;
  versionNumber: number;
  encoding: string;
  isStandby: boolean;
  fsync: string;
  fullPageWrites: string;
  synchronousCommit: string;
  synchronousStandbys: string;
  dataChecksums: string;
  maxConnections: number;
  reservedConnections: number;
  /** Milliseconds since 1970 by the clock of the database server. */
  clock: number;
}

const FACTS = `
  SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS "versionNumber",
    current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS "isStandby",
    current_setting('fsync') AS fsync, current_setting('full_page_writes') AS "fullPageWrites",
    current_setting('synchronous_commit') AS "synchronousCommit",
    current_setting('synchronous_standby_names') AS "synchronousStandbys",
    current_setting('data_checksums') AS "dataChecksums",
    current_setting('max_connections')::int AS "maxConnections",
    current_setting('superuser_reserved_connections')::int AS "reservedConnections",
    extract(epoch FROM clock_timestamp())::float8 * 1000 AS clock`;

/** Reads the facts, and how far the clock of this process is ahead of the server's, in milliseconds. */
export async function readServerFacts(env: Env, url: string): Promise<ServerFacts & { clockAhead: number }> {
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 1 });
  try {
    const before = Date.now();
    const [facts] = await dataSource.query<ServerFacts[]>(FACTS);
    if (!facts) throw new Error('The database returned no information about itself');
    // The server read its clock somewhere in between.
    return { ...facts, clockAhead: (before + Date.now()) / 2 - facts.clock };
  } finally {
    await dataSource.destroy();
  }
}

/** A setting that the guarantee needs, as it is. */
export interface DurabilitySetting {
  name: string;
  value: string;
  isSafe: boolean;
  /** What can happen with an unsafe value. `on` is safe for each setting. */
  danger: string;
}

/** Returns the settings without which acknowledged writes can be lost. */
export function durabilityOf(facts: ServerFacts): DurabilitySetting[] {
  const { fsync, fullPageWrites, synchronousCommit } = facts;
  return [
    { name: 'fsync', value: fsync, isSafe: fsync === 'on', danger: 'a crash can destroy the database' },
    {
      ...{ name: 'full_page_writes', value: fullPageWrites, isSafe: fullPageWrites === 'on' },
      danger: 'a crash can corrupt pages',
    },
    {
      // The server sets `on` in its sessions where it finds `off`.
      ...{ name: 'synchronous_commit', value: synchronousCommit, isSafe: isSynchronous(facts) },
      danger: 'a failover can lose acknowledged writes',
    },
  ];
}

/** With synchronous standbys, `local` and `remote_write` acknowledge what a failover can lose. */
function isSynchronous({ synchronousCommit, synchronousStandbys }: ServerFacts): boolean {
  return synchronousStandbys === '' || ['on', 'remote_apply'].includes(synchronousCommit);
}

/** Whether a server has started on this database: the first start stores the signing key, sealed with SECRET_KEY. */
export async function isSetUp(env: Env, url: string): Promise<boolean> {
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 1 });
  try {
    const [row] = await dataSource.query<{ isSetUp: boolean }[]>(
      'SELECT EXISTS (SELECT FROM signing_keys) AS "isSetUp"',
    );
    return row?.isSetUp === true;
  } finally {
    await dataSource.destroy();
  }
}
