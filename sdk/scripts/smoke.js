// Uses the built client on a server, on any runtime. Needs the address of the server and an access token:
//   QM_URL=http://127.0.0.1:3000 QM_TOKEN=… node sdk/scripts/smoke.js
//   QM_URL=… QM_TOKEN=… deno run --allow-env --allow-net --allow-read sdk/scripts/smoke.js
//   QM_URL=… QM_TOKEN=… bun sdk/scripts/smoke.js
import assert from 'node:assert/strict';
import process from 'node:process';
import { ConnectionError, Quartermaster, isRefusal } from '../dist/esm/index.js';

const { QM_URL: url = '', QM_TOKEN: token = '' } = process.env;
const mine = new Quartermaster({ url, token });

const me = await mine.get('/v1/users/{user}', { params: { path: { user: 'me' } } });

const made = [];
for (const value of ['one', 'two', 'three']) made.push(await mine.post('/v1/resources', { body: { value } }));
const listed = [];
for await (const { id } of mine.list('/v1/resources', { params: { query: { limit: 2 } } })) listed.push(id);
for (const { id } of made) {
  assert(listed.includes(id));
  await mine.delete('/v1/resources/{id}', { params: { path: { id } } });
}

const digits = '[3.14159265358979323846,1e400,"\\u0000é🚀"]';
await mine.writeText('smoke/é 🚀', digits);
assert.equal(await mine.readText('smoke/é 🚀'), digits);
await mine.delete('/v1/store/{key}', { params: { path: { key: 'smoke/é 🚀' } } });

const { id, key } = await mine.post('/v1/keys', { body: { name: 'smoke', scopes: ['api1'] } });
const caller = new Quartermaster({ url, key });
assert.equal(await (await caller.call('api1', { method: 'POST', body: 'x', repeat: true })).text(), 'API1');
assert.equal((await new Quartermaster({ url }).verify({ key, api: 'api1' })).owner, me.id);
await mine.delete('/v1/keys/{id}', { params: { path: { id } } });
await assert.rejects(caller.call('api1'), (error) => isRefusal(error, 'invalid_api_key'));

const signingKey = await mine.post('/v1/auth/signing-keys', { body: { name: 'smoke' } });
assert(signingKey.privateKey);
const signing = new Quartermaster({ url, signingKey: { id: signingKey.id, privateKey: signingKey.privateKey } });
const signed = await signing.post('/v1/resources', { body: { value: 'signed é' } });
await signing.delete('/v1/resources/{id}', { params: { path: { id: signed.id } } });
await mine.delete('/v1/auth/signing-keys/{id}', { params: { path: { id: signingKey.id } } });

const reason = new Error('no longer needed');
await assert.rejects(mine.get('/v1/apis', { signal: AbortSignal.abort(reason) }), reason);
const nowhere = new Quartermaster({ url: 'http://127.0.0.1:9', retries: 1 });
await assert.rejects(nowhere.get('/v1/apis'), ConnectionError);
console.log('ok');
