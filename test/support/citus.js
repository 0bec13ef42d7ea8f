// The suite on a Citus cluster: TEST_DATABASE_URL is a database of its coordinator, which knows the workers.
import pg from 'pg';

/** @param {string} url @param {string} [database] */
const withDatabase = (url, database) => {
  const address = new URL(url);
  if (database !== undefined) address.pathname = `/${database}`;
  return address.href;
};

/**
 * @param {string} url
 * @param {(client: pg.Client) => Promise<T>} work
 * @template T
 */
async function connected(url, work) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * Returns the addresses of the database on the coordinator and on each worker; of a PostgreSQL without Citus only its own.
 * @param {string} url of a database of the coordinator
 * @returns {Promise<string[]>}
 */
export function nodesOf(url) {
  return connected(url, async (client) => {
    const extension = await client.query(`SELECT FROM pg_extension WHERE extname = 'citus'`);
    if (extension.rows.length === 0) return [url];
    const { rows } = await client.query(
      'SELECT nodename AS name, nodeport AS port FROM pg_dist_node WHERE groupid <> 0 ORDER BY nodeid',
    );
    const workers = rows.map(({ name, port }) => {
      const address = new URL(url);
      [address.hostname, address.port] = [name, String(port)];
      return address.href;
    });
    return [url, ...workers];
  });
}

/**
 * Makes new databases of the same name on all nodes one cluster, like that of the first database.
 * @param {readonly string[]} nodes as `nodesOf` returns them
 * @param {string} database
 */
export async function joinNodes(nodes, database) {
  for (const node of nodes) {
    await connected(withDatabase(node, database), (client) => client.query('CREATE EXTENSION citus'));
  }
  const [coordinator = '', ...workers] = nodes;
  const [host, port] = addressOf(coordinator);
  await connected(withDatabase(coordinator, database), async (client) => {
    // Few shards: each is a table that a test database has to create.
    await client.query(`ALTER DATABASE ${database} SET citus.shard_count = 4`);
    await client.query('SELECT citus_set_coordinator_host($1, $2)', [host, port]);
    for (const worker of workers) await client.query('SELECT citus_add_node($1, $2)', addressOf(worker));
    await client.query(`SELECT citus_set_node_property($1, $2, 'shouldhaveshards', false)`, [host, port]);
  });
}

/**
 * Creates a database on all nodes. A copy of a database that `joinNodes` made is a cluster of its own.
 * @param {readonly string[]} nodes
 * @param {string} database
 * @param {string | undefined} template
 */
export async function createOnNodes(nodes, database, template) {
  for (const node of nodes) {
    await connected(node, async (client) => {
      if (template === undefined) await client.query(`CREATE DATABASE ${database}`);
      else await copy(client, database, template);
    });
  }
}

/**
 * Copies a database. A background process of Citus is connected to it, and comes back whenever somebody connects.
 * @param {pg.Client} client
 * @param {string} database
 * @param {string} template
 */
async function copy(client, database, template) {
  for (;;) {
    await client.query('SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1', [template]);
    try {
      await client.query(`CREATE DATABASE ${database} TEMPLATE ${template}`);
      return;
    } catch (error) {
      // 55006: the template is in use.
      if (/** @type {{ code?: string }} */ (error).code !== '55006') throw error;
    }
  }
}

/** @param {string} url @returns {[string, number]} */
function addressOf(url) {
  const { hostname, port } = new URL(url);
  return [hostname, Number(port || 5432)];
}

/** Whether the tests run on several nodes. They have no common snapshot: only the rows of one owner can be read in one. */
export const isDistributed = () => (process.env.TEST_POSTGRES_NODES ?? '').includes(' ');
