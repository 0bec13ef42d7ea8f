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
