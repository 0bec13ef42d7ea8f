// What is measured: the requests of each case, and the data they need.
import pg from 'pg';

/**
 * @typedef {import('./load.js').LoadRequest} LoadRequest
 * @typedef {NonNullable<Awaited<ReturnType<typeof import('./peers/peer.js').startParseServer>>>} ParseServer
 * @typedef {object} Case
 * @property {string} name
 * @property {'hello' | 'database' | 'quartermaster' | 'uncounted' | 'better-auth' | 'parse-server'} server
 * @property {LoadRequest[]} requests
 * @property {number} expect the status of every answer
 * @property {boolean} [writes]
 * @property {readonly number[]} [connections] instead of the usual ones
 */

/** The cases that the others are compared with. */
export const HELLO = 'bare: hello';
export const BASELINE = 'bare: SELECT';

export const ADMIN_PASSWORD = 'Quarter-Master-1';
const PASSWORD = 'Bench-Password-1';
const VALUE = 'a text of some fifty characters, as people write it';
/** What a store holds: about a hundred bytes of JSON. */
const DOCUMENT = { text: VALUE, count: 42, tags: ['bench', 'store'] };

/** How many objects a batch creates or reads. */
const BATCH = 50;
/** At 256 connections what is left of batches when a measurement ends would burden the next for seconds. */
const BATCH_CONNECTIONS = [1, 4, 16];

/**
 * The tables of the bare servers, shaped as ours.
 * @param {string} url
 * @param {{ owners: number, items: number }} size
 * @returns {Promise<{ owners: string[], items: string[] }>} ids
 */
export async function seedBare(url, { owners, items }) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`
      CREATE TABLE bare_counters (
        owner_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
        amount bigint NOT NULL DEFAULT 1000000000
      );
      CREATE TABLE bare_items (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        owner_id uuid NOT NULL REFERENCES bare_counters (owner_id),
        value text NOT NULL,
        created_at timestamptz(3) NOT NULL DEFAULT now()
      )`);
    const made = await client.query(
      'INSERT INTO bare_counters (used) SELECT 0 FROM generate_series(1, $1) RETURNING owner_id AS id',
      [owners],
    );
    const ownerIds = ids(made.rows);
    const rows = await client.query(
      `INSERT INTO bare_items (owner_id, value)
       SELECT ($1::uuid[])[1 + n % $2], $3 FROM generate_series(1, $4::int) n RETURNING id`,
      [ownerIds, owners, VALUE, items],
    );
    return { owners: ownerIds, items: ids(rows.rows) };
  } finally {
    await client.end();
  }
}

/**
 * Users with a session each, and resources dealt out among them, all made through the API.
 * @param {string} url
 * @param {{ owners: number, items: number }} size
 */
export async function seedQuartermaster(url, { owners, items }) {
  const admin = await signIn(url, 'admin', ADMIN_PASSWORD);
  const names = Array.from({ length: owners + 1 }, (_each, i) => `bench${i}`);
  const tokens = await inParallel(8, names, async (username) => {
    await call(url, 'POST', '/v1/users', { username, password: PASSWORD }, admin);
    return signIn(url, username, PASSWORD);
  });
  // The last one has no room left.
  const full = tokens.pop() ?? '';
  await call(url, 'PUT', `/v1/users/bench${owners}/quotas/resources`, { limit: 1 }, admin);
  await call(url, 'POST', '/v1/resources', { value: VALUE }, full);
  const dealt = Array.from({ length: items }, (_each, i) => tokens[i % owners] ?? '');
  const resources = await inParallel(32, dealt, async (token) => {
    const { id } = await call(url, 'POST', '/v1/resources', { value: VALUE }, token);
    return { id: String(id), token };
  });
  return { tokens, full, resources };
}

/**
 * Users with keys, each under two limits that are never reached: the user's of a day, the key's of a minute.
 * @param {string} url
 * @param {{ users: number, keysEach: number }} size
 * @returns {Promise<string[]>} keys, dealt out so that neighbours belong to different users
 */
export async function seedKeys(url, { users, keysEach }) {
  const admin = await signIn(url, 'admin', ADMIN_PASSWORD);
  const limit = 1_000_000_000_000;
  const names = Array.from({ length: users }, (_each, i) => `caller${i}`);
  const keys = await inParallel(8, names, async (username) => {
    await call(url, 'POST', '/v1/users', { username, password: PASSWORD }, admin);
    await call(url, 'PUT', `/v1/users/${username}/quotas/api:api1`, { limit, window: 'day' }, admin);
    const limits = [{ meter: 'api:api1', window: 'minute', limit }];
    const body = { name: 'bench', scopes: ['*'], owner: username, limits };
    /** @type {string[]} */
    const own = [];
    while (own.length < keysEach) own.push(String((await call(url, 'POST', '/v1/keys', body, admin)).key));
    return own;
  });
  return Array.from({ length: keysEach }, (_each, n) => keys.map((own) => own[n] ?? '')).flat();
}

/**
 * Keys of one user each that are good for so many calls.
 * @param {string} url
 * @param {number} limit
 * @param {number} count
 */
export async function limitedKeys(url, limit, count) {
  const admin = await signIn(url, 'admin', ADMIN_PASSWORD);
  const limits = [{ meter: 'api:api1', limit }];
  return inParallel(1, Array(count).fill('limited'), async (name) => {
    return String((await call(url, 'POST', '/v1/keys', { name, scopes: ['api1'], limits }, admin)).key);
  });
}

/**
 * The same job, done by better-auth (see peers/README.md).
 * @param {readonly string[]} keys
 * @returns {Case[]}
 */
export function betterAuthCases(keys) {
  const requests = keys.map((key) => ({
    method: /** @type {const} */ ('GET'),
    path: '/verify',
    headers: { 'x-api-key': key },
  }));
  const common = { server: /** @type {const} */ ('better-auth'), expect: 200, writes: true };
  return [
    { ...common, name: 'better-auth: verify, hot key', requests: requests.slice(0, 1) },
    { ...common, name: `better-auth: verify, ${requests.length} keys`, requests },
  ];
}

/**
 * Objects, made by Parse Server (see peers/README.md).
 * @param {ParseServer} peer
 * @param {number} count
 * @returns {Promise<string[]>} ids
 */
export async function seedParseServer(peer, count) {
  /** @type {string[]} */
  const made = [];
  while (made.length < count) {
    const requests = parseCreates(Math.min(BATCH, count - made.length));
    for (const { objectId } of await peer.batch({ requests })) made.push(objectId);
  }
  // The load generator looks at the status alone, and a batch answers 200 whatever becomes of its parts: these throw.
  await peer.batch({ requests: parseCreates(BATCH), transaction: true });
  const read = await peer.batch({ requests: made.slice(0, BATCH).map(parseRead) });
  if (read.some(({ objectId, value }, i) => objectId !== made[i] || !value)) throw new Error('Not what was stored');
  return made;
}

/**
 * @param {ParseServer} peer
 * @param {readonly string[]} objects ids
 * @returns {Case[]}
 */
export function parseServerCases({ headers }, objects) {
  const json = { 'content-type': 'application/json', ...headers };
  const reads = objects.map((id) => ({ ...parseRead(id), headers }));
  const { method, path, body } = parseCreate(0);
  const batch = (/** @type {object} */ content) => ({
    ...{ method: /** @type {const} */ ('POST'), path: '/parse/batch', headers: json },
    body: JSON.stringify(content),
  });
  const batchesOfReads = Array.from({ length: Math.floor(objects.length / BATCH) }, (_each, i) =>
    batch({ requests: objects.slice(i * BATCH, (i + 1) * BATCH).map(parseRead) }),
  );
  const creates = { requests: parseCreates(BATCH) };
  const server = /** @type {const} */ ('parse-server');
  const batches = { server, expect: 200, connections: BATCH_CONNECTIONS };
  return [
    { name: 'Parse Server: read, one object', server, expect: 200, requests: reads.slice(0, 1) },
    { name: `Parse Server: read, ${reads.length} objects`, server, expect: 200, requests: reads },
    {
      ...{ name: 'Parse Server: create', server, expect: 201, writes: true },
      requests: [{ method, path, headers: json, body: JSON.stringify(body) }],
    },
    { ...batches, name: `Parse Server: batch of ${BATCH} reads`, requests: batchesOfReads },
    { ...batches, name: `Parse Server: batch of ${BATCH} creates`, writes: true, requests: [batch(creates)] },
    {
      ...{ ...batches, name: `Parse Server: batch of ${BATCH} creates, one transaction`, writes: true },
      requests: [batch({ ...creates, transaction: true })],
    },
  ];
}

/** @param {string} id */
function parseRead(id) {
  return { method: /** @type {const} */ ('GET'), path: `/parse/classes/Store/${id}` };
}

/** @param {number} count */
function parseCreates(count) {
  return Array.from({ length: count }, (_each, i) => parseCreate(i));
}

/** @param {number} i */
function parseCreate(i) {
  const body = { key: `key${i}`, value: DOCUMENT };
  return { method: /** @type {const} */ ('POST'), path: '/parse/classes/Store', body };
}

/**
 * @param {readonly string[]} keys
 * @returns {Case[]}
 */
export function callCases(keys) {
  const calls = keys.map((key) => get('/call/api1', key));
  const forwarded = keys.map((key) => get('/v1/forward-auth?api=api1', key));
  const verifications = keys.map((key) => post('/v1/verify', { key, api: 'api1' }));
  const common = { server: /** @type {const} */ ('quartermaster'), expect: 200, writes: true };
  return [
    { ...common, name: 'GET /call/api1, hot key', requests: calls.slice(0, 1) },
    { ...common, name: `GET /call/api1, ${calls.length} keys`, requests: calls },
    { ...common, name: 'GET /v1/forward-auth, hot key', requests: forwarded.slice(0, 1) },
    { ...common, name: `GET /v1/forward-auth, ${forwarded.length} keys`, requests: forwarded },
    { ...common, name: 'POST /v1/verify, hot key', requests: verifications.slice(0, 1) },
    { ...common, name: `POST /v1/verify, ${calls.length} keys`, requests: verifications },
  ];
}

/** Entries of a batch beside the bare server; beside Parse Server they are BATCH. */
const HUNDRED = 100;

/**
 * The store, in which every user has the same keys, under limits that are never reached.
 * @param {string} url
 * @param {readonly string[]} tokens
 */
export async function seedStore(url, tokens) {
  const admin = await signIn(url, 'admin', ADMIN_PASSWORD);
  const entries = storeKeys(HUNDRED).map((key) => ({ key, value: DOCUMENT }));
  await inParallel(8, tokens, async (token) => {
    await call(url, 'POST', '/v1/store/write', { entries }, token);
    const { id } = await call(url, 'GET', '/v1/users/me', undefined, token);
    for (const meter of ['store.entries', 'store.bytes']) {
      await call(url, 'PUT', `/v1/users/${id}/quotas/${meter}`, { limit: 1_000_000_000_000 }, admin);
    }
  });
}

/**
 * @param {Awaited<ReturnType<typeof seedBare>>} bare
 * @param {readonly string[]} tokens
 * @returns {Case[]}
 */
export function storeCases({ owners, items }, tokens) {
  const [first = ''] = tokens;
  const [key = '', ...others] = storeKeys(HUNDRED);
  // Neighbours belong to different users, and no two requests are for the same entry.
  const spread = [key, ...others].flatMap((each) => tokens.map((token) => ({ key: each, token }))).slice(0, 1_000);
  const reads = spread.map((each) => get(`/v1/store/${each.key}`, each.token));
  const writes = spread.map((each) => put(`/v1/store/${each.key}`, DOCUMENT, each.token));
  const readsOf = (/** @type {number} */ count) =>
    tokens.map((token) => post('/v1/store/read', { keys: storeKeys(count) }, token));
  const writesOf = (/** @type {number} */ count, /** @type {boolean} */ atomic) => {
    const entries = storeKeys(count).map((each) => ({ key: each, value: DOCUMENT }));
    return tokens.map((token) => post('/v1/store/write', { entries, onConflict: 'replace', atomic }, token));
  };
  const ours = { server: /** @type {const} */ ('quartermaster'), expect: 200 };
  const theirs = { server: /** @type {const} */ ('database') };
  const values = Array(HUNDRED).fill(DOCUMENT);
  const batches = { ...ours, connections: BATCH_CONNECTIONS };
  return [
    { ...ours, name: 'GET /v1/store/{key}, one', requests: [get(`/v1/store/${key}`, first)] },
    { ...ours, name: `GET /v1/store/{key}, ${reads.length}`, requests: reads },
    { ...ours, name: 'PUT /v1/store/{key}, one', writes: true, requests: writes.slice(0, 1) },
    { ...ours, name: `PUT /v1/store/{key}, ${writes.length}`, writes: true, requests: writes },
    {
      ...{ ...theirs, name: `bare: SELECT of ${HUNDRED} (store)`, expect: 200 },
      requests: [post('/items/read', { ids: items.slice(0, HUNDRED) })],
    },
    { ...ours, name: `POST /v1/store/read of ${HUNDRED}`, requests: readsOf(HUNDRED) },
    {
      ...{ ...theirs, name: `bare: UPDATE + INSERT of ${HUNDRED} (store)`, expect: 201, writes: true },
      requests: owners.map((owner) => post(`/owners/${owner}/batch`, { values })),
    },
    { ...ours, name: `POST /v1/store/write of ${HUNDRED}`, writes: true, requests: writesOf(HUNDRED, false) },
    { ...batches, name: `POST /v1/store/read of ${BATCH}`, requests: readsOf(BATCH) },
    { ...batches, name: `POST /v1/store/write of ${BATCH}, atomic`, writes: true, requests: writesOf(BATCH, true) },
  ];
}

/** @param {number} count */
function storeKeys(count) {
  return Array.from({ length: count }, (_each, i) => `cart-${i}`);
}

/**
 * @param {Awaited<ReturnType<typeof seedBare>>} bare
 * @param {Awaited<ReturnType<typeof seedQuartermaster>>} ours
 * @returns {Case[]}
 */
export function allCases(bare, { tokens, full, resources }) {
  const me = tokens.map((token) => get('/v1/users/me', token));
  const read = resources.map(({ id, token }) => get(`/v1/resources/${id}`, token));
  const create = tokens.map((token) => post('/v1/resources', { value: VALUE }, token));
  const insert = bare.owners.map((owner) => post(`/owners/${owner}/items`, { value: VALUE }));
  const login = tokens.map((_token, i) => post('/v1/auth/login', { login: `bench${i}`, password: PASSWORD }));
  return [
    { name: HELLO, server: 'hello', requests: [get('/hello')], expect: 200 },
    { name: BASELINE, server: 'database', requests: bare.items.map((id) => get(`/items/${id}`)), expect: 200 },
    { name: 'GET /v1/users/me, one user', server: 'quartermaster', requests: me.slice(0, 1), expect: 200 },
    { name: `GET /v1/users/me, ${me.length} users`, server: 'quartermaster', requests: me, expect: 200 },
    { name: 'GET /v1/users/me, requests not counted', server: 'uncounted', requests: me, expect: 200 },
    { name: 'GET /v1/resources/{id}, one', server: 'quartermaster', requests: read.slice(0, 1), expect: 200 },
    { name: `GET /v1/resources/{id}, ${read.length}`, server: 'quartermaster', requests: read, expect: 200 },
    {
      ...{ name: 'bare: UPDATE + INSERT, one owner', server: 'database', expect: 201, writes: true },
      requests: insert.slice(0, 1),
    },
    {
      ...{ name: `bare: UPDATE + INSERT, ${insert.length} owners`, server: 'database', expect: 201, writes: true },
      requests: insert,
    },
    {
      ...{ name: 'POST /v1/resources, one user', server: 'quartermaster', expect: 201, writes: true },
      requests: create.slice(0, 1),
    },
    {
      ...{ name: `POST /v1/resources, ${create.length} users`, server: 'quartermaster', expect: 201, writes: true },
      requests: create,
    },
    {
      ...{ name: `POST /v1/tasks, ${tokens.length} users`, server: 'quartermaster', expect: 201, writes: true },
      requests: tokens.map((token) => post('/v1/tasks', { title: VALUE }, token)),
    },
    {
      ...{ name: 'POST /v1/resources, refused', server: 'quartermaster', expect: 403 },
      requests: [post('/v1/resources', { value: VALUE }, full)],
    },
    {
      ...{ name: 'POST /v1/auth/login', server: 'quartermaster', expect: 200, writes: true },
      ...{ requests: login, connections: [1, 4, 16] },
    },
  ];
}

/**
 * @param {string} path
 * @param {string} [token]
 * @returns {LoadRequest}
 */
export function get(path, token) {
  return { method: 'GET', path, headers: authorization(token) };
}

/**
 * @param {string} path
 * @param {object} body
 * @param {string} [token]
 * @returns {LoadRequest}
 */
export function post(path, body, token) {
  const headers = { 'content-type': 'application/json', ...authorization(token) };
  return { method: 'POST', path, headers, body: JSON.stringify(body) };
}

/**
 * @param {string} path
 * @param {object} body
 * @param {string} token
 * @returns {LoadRequest}
 */
export function put(path, body, token) {
  return { ...post(path, body, token), method: 'PUT' };
}

/**
 * @param {string} [token]
 * @returns {Record<string, string>}
 */
function authorization(token) {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/**
 * @param {string} url
 * @param {string} login
 * @param {string} password
 */
export async function signIn(url, login, password) {
  return String((await call(url, 'POST', '/v1/auth/login', { login, password })).accessToken);
}

/**
 * @param {string} url
 * @param {string} method
 * @param {string} path
 * @param {object | undefined} body
 * @param {string} [token]
 * @returns {Promise<Record<string, unknown>>}
 */
export async function call(url, method, path, body, token) {
  const headers = { 'content-type': 'application/json', ...authorization(token) };
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(url + path, { method, headers, ...content });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return /** @type {Record<string, unknown>} */ (await response.json());
}

/**
 * @template T, R
 * @param {number} lanes
 * @param {readonly T[]} items
 * @param {(item: T) => Promise<R>} work
 * @returns {Promise<R[]>} in the order of the items
 */
async function inParallel(lanes, items, work) {
  /** @type {R[]} */
  const results = [];
  const rest = items.entries();
  const lane = async () => {
    for (const [i, item] of rest) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

/** @param {{ id: string }[]} rows */
function ids(rows) {
  return rows.map((row) => row.id);
}
