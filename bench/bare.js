// What Quartermaster is compared with: the least that Fastify and pg can do. A process of its own; `node bare.js KIND`.
import Fastify from 'fastify';
import pg from 'pg';

/** As Quartermaster has it by default (DATABASE_POOL). */
const POOL = 10;

const SELECT = {
  name: 'select',
  text: 'SELECT id, owner_id AS "ownerId", value, created_at AS "createdAt" FROM bare_items WHERE id = $1',
};

/** What POST /v1/store/read promises: all as of one moment. */
const SELECT_ALL = {
  name: 'select-all',
  text: 'SELECT id, owner_id AS "ownerId", value, created_at AS "createdAt" FROM bare_items WHERE id = ANY($1)',
};

/** What POST /v1/resources promises, in the shortest way: `used` equals the rows, and never exceeds the limit. */
const CHARGE_AND_INSERT = {
  name: 'charge-and-insert',
  text: `
    WITH charged AS (
      UPDATE bare_counters SET used = used + 1 WHERE owner_id = $1 AND used < amount RETURNING owner_id
    )
    INSERT INTO bare_items (owner_id, value) SELECT owner_id, $2 FROM charged
    RETURNING id, owner_id AS "ownerId", value, created_at AS "createdAt"`,
};

/** The same for many. */
const CHARGE_AND_INSERT_ALL = {
  name: 'charge-and-insert-all',
  text: `
    WITH charged AS (
      UPDATE bare_counters SET used = used + cardinality($2::text[])
      WHERE owner_id = $1 AND used + cardinality($2::text[]) <= amount RETURNING owner_id
    )
    INSERT INTO bare_items (owner_id, value) SELECT owner_id, unnest($2::text[]) FROM charged RETURNING id`,
};

const kind = process.argv[2];
const server = Fastify();

if (kind === 'hello') {
  server.get('/hello', () => ({ hello: 'world' }));
} else {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: POOL });
  server.get('/items/:id', async (request, reply) => {
    const { id } = /** @type {{ id: string }} */ (request.params);
    const { rows } = await pool.query({ ...SELECT, values: [id] });
    return rows[0] ?? reply.code(404).send({ status: 404 });
  });
  server.post('/owners/:owner/items', async (request, reply) => {
    const { owner } = /** @type {{ owner: string }} */ (request.params);
    const { value } = /** @type {{ value: string }} */ (request.body);
    const { rows } = await pool.query({ ...CHARGE_AND_INSERT, values: [owner, value] });
    return rows[0] ? reply.code(201).send(rows[0]) : reply.code(403).send({ status: 403 });
  });
  server.post('/items/read', async (request) => {
    const { ids } = /** @type {{ ids: string[] }} */ (request.body);
    return (await pool.query({ ...SELECT_ALL, values: [ids] })).rows;
  });
  server.post('/owners/:owner/batch', async (request, reply) => {
    const { owner } = /** @type {{ owner: string }} */ (request.params);
    const { values } = /** @type {{ values: object[] }} */ (request.body);
    const texts = values.map((value) => JSON.stringify(value));
    const { rows } = await pool.query({ ...CHARGE_AND_INSERT_ALL, values: [owner, texts] });
    return rows[0] ? reply.code(201).send(rows) : reply.code(403).send({ status: 403 });
  });
  server.addHook('onClose', () => pool.end());
}

process.once('SIGTERM', () => {
  void server.close();
});
console.log(`listens on ${await server.listen({ host: '127.0.0.1', port: 0 })}`);
