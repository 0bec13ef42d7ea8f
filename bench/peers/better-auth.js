// A peer: better-auth with its API-key plugin on PostgreSQL. A process of its own, as ../bare.js; see README.md.
import { randomBytes } from 'node:crypto';
import Fastify from 'fastify';
import pg from 'pg';

/**
 * What is used of better-auth.
 *
 * @typedef {object} Auth
 * @property {object} options
 * @property {{
 *   signUpEmail: (call: { body: object }) => Promise<{ user: { id: string } }>,
 *   createApiKey: (call: { body: object }) => Promise<{ key: string }>,
 *   verifyApiKey: (call: { body: { key: string } }) => Promise<{ valid: boolean, error: { code?: string } | null }>,
 * }} api
 */

/**
 * @typedef {object} KeysWanted
 * @property {number} count
 * @property {number | null} remaining verifications that each of them lets through; null: all
 * @property {number} [refillInterval] milliseconds after which it is good for `remaining` again; without it a key that
 *   is used up is deleted
 */

/** As Quartermaster has it by default (DATABASE_POOL). */
const POOL = 10;

/** Refused because the key is used up or too busy, not because it is unknown. */
const TOO_MANY = new Set(['USAGE_EXCEEDED', 'RATE_LIMITED']);

const { betterAuth } = await load('better-auth');
const { getMigrations } = await load('better-auth/db/migration');
const { apiKey } = await load('@better-auth/api-key');

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: POOL });
/** @type {Auth} */
const auth = betterAuth({
  database: pool,
  baseURL: 'http://127.0.0.1',
  secret: randomBytes(32).toString('hex'),
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  // Each refusal would be a line.
  logger: { disabled: true },
  // Keys are counted by `remaining` alone. Everything else is the plugin's default: keys hashed and in the database, and
  // an answer only once the count is written.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const owner = { name: 'Bench', email: `${randomBytes(8).toString('hex')}@example.com`, password: 'Bench-Password-1' };
const { user } = await auth.api.signUpEmail({ body: owner });

const server = Fastify();
server.get('/verify', async (request, reply) => {
  const key = String(request.headers['x-api-key'] ?? '');
  const { valid, error } = await auth.api.verifyApiKey({ body: { key } });
  if (valid) return { ok: true };
  return reply.code(TOO_MANY.has(error?.code ?? '') ? 429 : 401).send({ ok: false, code: error?.code });
});
server.post('/keys', async (request) => {
  const { count, refillInterval, remaining } = /** @type {KeysWanted} */ (request.body);
  const refill = refillInterval === undefined ? {} : { refillInterval, refillAmount: remaining };
  /** @type {string[]} */
  const keys = [];
  while (keys.length < count) {
    const { key } = await auth.api.createApiKey({ body: { userId: user.id, remaining, ...refill } });
    keys.push(key);
  }
  return { keys };
});
server.addHook('onClose', () => pool.end());

process.once('SIGTERM', () => {
  void server.close();
});
console.log(`listens on ${await server.listen({ host: '127.0.0.1', port: 0 })}`);

/**
 * Imports by a name that tsc does not follow: it checks this file where the package is not installed, too.
 *
 * @param {string} name
 */
function load(name) {
  return import(name);
}
