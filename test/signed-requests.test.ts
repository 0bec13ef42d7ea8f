import { createHash, createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { Api, expectProblem, listOperations, uniqueName, type Account, type Answer } from './support/api.js';
import { Fleet } from './support/fleet.js';
import { TestServer } from './support/server.js';
import { Signer, digestOf, now, registerKey, send, signatureOf, type Otherwise, type Sent } from './support/signer.js';
import { until } from './support/until.js';

let fleet: Fleet;
/** Two processes on one database. */
let api: Api;
let other: Api;
let user: Account;
let mine: Api;
let signer: Signer;

beforeAll(async () => {
  fleet = await Fleet.start(2);
  [api, other] = fleet.servers.map(({ url }) => new Api(url)) as [Api, Api];
  user = await api.createUser();
  mine = api.as(user);
  signer = new Signer(api.url, await registerKey(mine));
});

afterAll(() => fleet.stop());

const ME = '/v1/users/me';

async function newSigner(fields: Record<string, unknown> = {}): Promise<{ account: Account; signer: Signer }> {
  const account = await api.createUser(fields);
  return { account, signer: new Signer(api.url, await registerKey(api.as(account))) };
}

function expectRefused(answer: Answer, detail?: RegExp): void {
  expectProblem(answer, 401, 'invalid_signature');
  if (detail) expect(answer.body.detail).toMatch(detail);
  expect(answer.headers.get('accept-signature')).toContain(
    '("@method" "@authority" "@path" "@query" "content-digest")',
  );
}

function withHeader({ headers, ...rest }: Sent, name: string, change: (value: string) => string): Sent {
  expect(headers.map(([each]) => each)).toContain(name);
  return { ...rest, headers: headers.map(([each, value]) => [each, each === name ? change(value) : value] as const) };
}

async function resources(value: string): Promise<number> {
  const { body } = await mine.get('/v1/resources?limit=100');
  return body.data.filter((each: { value: string }) => each.value === value).length;
}

describe('/v1/auth/signing-keys', () => {
  const pair = generateKeyPairSync('ed25519');
  const pem = pair.publicKey.export({ format: 'pem', type: 'spki' }).toString();
  const jwk = pair.publicKey.export({ format: 'jwk' });
  const forms: [string, unknown][] = [
    ['PEM', pem],
    ['JWK', jwk],
    ['JWK as a text', JSON.stringify(jwk)],
    ['base64url of its bytes', jwk.x],
    ['base64 of its bytes', Buffer.from(jwk.x!, 'base64url').toString('base64')],
    ['base64 of its SPKI', pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')],
  ];

  test.each(forms)('POST: registers a key given as %s, and returns PEM', async (_name, publicKey) => {
    const answer = await mine.post('/v1/auth/signing-keys', { name: 'laptop', publicKey });
    expect(answer).toMatchObject({ status: 201, body: { name: 'laptop', publicKey: pem } });
    expect(Object.keys(answer.body).sort()).toEqual(['createdAt', 'id', 'name', 'publicKey']);
    const own = new Signer(api.url, { id: answer.body.id, privateKey: pair.privateKey });
    expect(await own.send('GET', ME)).toMatchObject({ status: 200, body: { id: user.id } });
  });

  test('POST without a key: generates one, returns the private key once and stores it nowhere', async () => {
    const key = randomUUID();
    const post = (): Promise<Answer> =>
      mine.post('/v1/auth/signing-keys', { name: 'made' }, { headers: { 'idempotency-key': key } });
    const { status, body } = await post();
    expect(status).toBe(201);
    const own = new Signer(api.url, { id: body.id, privateKey: createPrivateKey(body.privateKey) });
    expect(await own.send('GET', ME)).toMatchObject({ status: 200, body: { id: user.id } });
    const { privateKey, ...rest } = body;
    const again = await post();
    expect(again).toMatchObject({ status: 201, body: rest });
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.text).not.toContain('PRIVATE');
    const { data } = (await mine.get('/v1/auth/signing-keys?limit=100')).body;
    expect(data.find(({ id }: { id: string }) => id === body.id)).toEqual(rest);
    const seed = createPrivateKey(privateKey).export({ format: 'jwk' }).d!;
    const [{ found }] = await fleet.query(
      `SELECT count(*)::int AS found FROM request_keys k WHERE k::text LIKE '%' || encode($1, 'hex') || '%'`,
      [Buffer.from(seed, 'base64url')],
    );
    expect(found).toBe(0);
    expect(fleet.servers[0]!.output).not.toContain(seed);
  });

  test('POST: 400 for a private, weak or non-Ed25519 key, without echoing it', async () => {
    const jwkOf = pair.privateKey.export({ format: 'jwk' });
    const given = [
      pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
      ...[jwkOf, JSON.stringify(jwkOf), 'x', '', { kty: 'OKP' }, [jwk.x], null, 1],
      generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
      Buffer.alloc(32).toString('base64'),
      'A'.repeat(10_000),
    ];
    const before = (await mine.get('/v1/auth/signing-keys?limit=100')).text;
    for (const publicKey of given) {
      const answer = await mine.post('/v1/auth/signing-keys', { name: 'x', publicKey });
      expectProblem(answer, 400, 'validation_failed');
      expect(answer.body.errors).toMatchObject([{ pointer: '/publicKey' }]);
      expect(answer.text).not.toContain(jwkOf.d);
    }
    expect((await mine.get('/v1/auth/signing-keys?limit=100')).text).toBe(before);
  });

  test('GET: own keys in pages, newest first; DELETE: 404 for other users and administrators', async () => {
    const [{ account: owner }, { account: stranger }] = await Promise.all([newSigner(), newSigner()]);
    for (const name of ['b', 'c']) await api.as(owner).post('/v1/auth/signing-keys', { name });
    const first = await api.as(owner).get('/v1/auth/signing-keys?limit=2');
    expect(first.body.data.map(({ name }: { name: string }) => name)).toEqual(['c', 'b']);
    expect(first.headers.get('link')).toContain('rel="next"');
    const last = await api.as(owner).get(`/v1/auth/signing-keys?limit=2&cursor=${first.body.nextCursor}`);
    expect(last.body).toMatchObject({ data: [{ name: 'a key' }], nextCursor: null });
    const { id } = first.body.data[0];
    for (const who of [api.as(stranger), await api.admin()]) {
      expectProblem(await who.delete(`/v1/auth/signing-keys/${id}`), 404, 'not_found');
    }
    expect((await api.as(owner).delete(`/v1/auth/signing-keys/${id}`)).status).toBe(204);
    expectProblem(await api.as(owner).delete(`/v1/auth/signing-keys/${id}`), 404, 'not_found');
    expect((await api.as(owner).get('/v1/auth/signing-keys')).body.data).toHaveLength(2);
  });

  test('POST: 403 beyond 100 keys, also under concurrent requests', async () => {
    const account = await api.createUser();
    const [one, two] = [api.as(account), other.as(account)];
    await fleet.query(
      `INSERT INTO request_keys (id, owner_id, name, public_key)
       SELECT gen_random_uuid(), $1, 'x', sha256(i::text::bytea) FROM generate_series(1, 90) i`,
      [account.id],
    );
    const body = { name: 'x', publicKey: pem };
    // Not more at once: a request that waits longer than five seconds for a connection gets 503.
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => [one, two][i % 2]!.post('/v1/auth/signing-keys', body)),
    );
    const refused = answers.filter(({ status }) => status !== 201);
    expect(refused).toHaveLength(10);
    for (const answer of refused) expectProblem(answer, 403, 'forbidden');
  });
});

describe('signature', () => {
  test('authenticates the user on every kind of route', async () => {
    expect(await signer.send('GET', ME)).toMatchObject({ status: 200, body: { id: user.id } });
    expect((await signer.send('HEAD', ME)).status).toBe(200);
    const made = await signer.send('POST', '/v1/resources', { value: 'signed' });
    expect(made).toMatchObject({ status: 201, body: { value: 'signed', owner: user.id } });
    const list = await signer.send('GET', '/v1/resources?limit=1&cursor');
    expectProblem(list, 400, 'validation_failed');
    expect(await signer.send('GET', '/v1/resources?limit=1')).toMatchObject({ status: 200 });
    expect(await signer.send('PATCH', ME, { firstName: 'Zoë' })).toMatchObject({ body: { firstName: 'Zoë' } });
    expect((await signer.send('DELETE', `/v1/resources/${made.body.id}`)).status).toBe(204);
    expect((await signer.send('POST', '/v1/tasks')).status).toBe(201);
    expect((await signer.send('POST', '/v1/auth/signing-keys', { name: 'x' })).status).toBe(201);
    const sessions = await signer.send('GET', '/v1/auth/sessions');
    expect(sessions.body.data).toMatchObject([{ current: false }]);
    expectProblem(await signer.send('GET', '/v1/users'), 403, 'forbidden');
  });

  test('accepted and documented on every route that accepts a session token', async () => {
    const { signer: admin } = await newSigner({ role: 'admin' });
    const takes = (security: object[], scheme: string): boolean => security.some((each) => scheme in each);
    const operations = (await listOperations(api)).filter(({ path }) => !path.startsWith('/call/'));
    const signed = operations.filter(({ declared }) => takes(declared.security ?? [], 'signature'));
    expect(signed).toEqual(operations.filter(({ declared }) => takes(declared.security ?? [], 'bearer')));
    expect(signed.length).toBeGreaterThan(40);
    for (const { id, method, path, declared } of signed) {
      const target = path.replaceAll(/\{\w+\}/g, '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c');
      // A body that no route accepts.
      const sent = admin.request(method, target, declared.requestBody && { of: 'no use' });
      expect({ id, status: (await send(api.url, admin.sign(sent))).status }).not.toMatchObject({ status: 401 });
      expect({ id, code: (await send(api.url, admin.sign(sent, { components: [] }))).body.code }).toEqual({
        id,
        code: 'invalid_signature',
      });
    }
  });

  test('accepted by the store, whose bodies are bytes', async () => {
    const value = '{"pi": 3.14159265358979323846, "z": "\\u0000"}';
    const put = await signer.send('PUT', '/v1/store/a%2Fb?ttl=1000', Buffer.from(value), {
      headers: { 'content-type': 'application/json' },
    });
    expect(put).toMatchObject({ status: 201, body: { key: 'a/b' } });
    expect(await signer.send('GET', '/v1/store/a%2Fb')).toMatchObject({
      status: 200,
      text: value.replaceAll(': ', ':').replace(', ', ','),
    });
    const entries = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: 'x'.repeat(500) }));
    // Large enough that the server authenticates before it reads the body.
    const large = await signer.send('POST', '/v1/store/write', { entries });
    expect(large).toMatchObject({ status: 200, body: { written: 300 } });
    expect((await signer.send('POST', '/v1/store/read', { keys: ['k7'] })).body.entries).toHaveLength(1);
    expect((await signer.send('GET', '/v1/store?limit=2&prefix=k')).body.data).toHaveLength(2);
    expect((await signer.send('GET', '/v1/store/k7?owner=admin')).status).toBe(403);
    expect((await signer.send('POST', '/v1/store/delete', { keys: ['k7'] })).status).toBe(200);
    expect((await signer.send('DELETE', '/v1/store/k8')).status).toBe(204);
    expect((await signer.send('GET', '/v1/store/k8')).status).toBe(404);
    expectRefused(
      await send(api.url, { ...signer.sign(signer.request('GET', '/v1/store/k9')), target: '/v1/store/k1' }),
    );
  });

  test('covers chunked and large bodies: 401 when the body is changed', async () => {
    for (const size of [1_000, 200_000]) {
      const body = JSON.stringify({ entries: [{ key: uniqueName(), value: 'x'.repeat(size) }] });
      const sent = signer.sign(
        signer.request('POST', '/v1/store/write', Buffer.from(body), { 'content-type': 'application/json' }),
      );
      const chunked = (each: Sent): Sent => ({
        ...each,
        headers: each.headers.map(([name, value]) =>
          name === 'content-length' ? (['transfer-encoding', 'chunked'] as const) : ([name, value] as const),
        ),
      });
      const forged = { ...sent, body: body.replace('xx', 'xy') };
      for (const each of [forged, chunked(forged)]) expectRefused(await send(api.url, each));
      const fresh = signer.sign(
        signer.request('POST', '/v1/store/write', Buffer.from(body), { 'content-type': 'application/json' }),
      );
      expect(await send(api.url, chunked(fresh))).toMatchObject({ status: 200, body: { written: 1 } });
    }
  });

  test('by an administrator: has the rights of the current role', async () => {
    const { account, signer: admin } = await newSigner({ role: 'admin' });
    expect((await admin.send('GET', '/v1/users?limit=1')).status).toBe(200);
    await (await api.admin()).patch(`/v1/users/${account.id}`, { role: 'user' });
    expectProblem(await admin.send('GET', '/v1/users?limit=1'), 403, 'forbidden');
  });

  test.each<[string, Otherwise]>([
    ['@target-uri in place of authority, path and query', { components: ['@method', '@target-uri', 'content-digest'] }],
    [
      'more than it must',
      {
        components: [
          'content-type',
          'x-more',
          '@scheme',
          '@request-target',
          '@target-uri',
          '@method',
          '@authority',
          '@path',
          '@query',
          'content-digest',
        ],
      },
    ],
    ['with further parameters', { parameters: { expires: '9999999999', tag: '"a tag"' } }],
    ['with sha-512', { digest: digestOf('{"limit":1}', 512) }],
    [
      'with several digests, of which some are unknown',
      {
        digest: `${digestOf('{"limit":1}')}, md5=:AAAA:, ${digestOf('{"limit":1}', 512)}`,
      },
    ],
  ])('accepted when it covers %s', async (_name, otherwise) => {
    const { signer: admin } = await newSigner({ role: 'admin' });
    const target = `/v1/users/me/quotas/resources?window=lifetime`;
    const sent = admin.sign(admin.request('PUT', target, { limit: 1 }, { 'x-more': 'a, b' }), otherwise);
    // The route rejects the query with 400, which proves that the signature was accepted.
    expectProblem(await send(api.url, sent), 400, 'validation_failed');
  });

  const request = (): [string, string, object] => ['POST', `/v1/resources?x=1`, { value: 'never' }];

  test.each<[string, Otherwise]>([
    ...['@method', '@authority', '@path', '@query', 'content-digest'].map((left): [string, Otherwise] => [
      left,
      { components: ['@method', '@authority', '@path', '@query', 'content-digest'].filter((each) => each !== left) },
    ]),
    ['@method, beside @target-uri', { components: ['@target-uri', 'content-digest'] }],
    ['content-digest, beside @target-uri', { components: ['@method', '@target-uri'] }],
    ['everything', { components: [] }],
    ['Content-Digest itself', { digest: undefined }],
    ...['created', 'nonce', 'keyid', 'alg'].map((left): [string, Otherwise] => [
      left,
      { parameters: { [left]: undefined } },
    ]),
  ])('401 when it leaves out %s', async (_name, otherwise) => {
    const [method, target, body] = request();
    expectRefused(await signer.send(method, target, body, otherwise));
    expect(await resources('never')).toBe(0);
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ['an algorithm of another kind', { alg: '"rsa-v1_5-sha256"' }, /alg/],
    ['an HMAC', { alg: '"hmac-sha256"' }, /alg/],
    ['no algorithm', { alg: '"none"' }, /alg/],
    ['an algorithm that is a token', { alg: 'ed25519' }, /alg/],
    ['a time that is not a number', { created: '"now"' }, /created/],
    ['a time with fractions', { created: '1.5' }, /created/],
    ['a time of no clock', { created: '999999999999999' }, /created/],
    ['a time before all clocks', { created: '-999999999999999' }, /created/],
    ['an expiry that is not a number', { expires: '?1' }, /expires/],
    ['a nonce that is not a string', { nonce: '1' }, /nonce/],
    ['an empty nonce', { nonce: '""' }, /nonce/],
    ['a nonce without end', { nonce: `"${'x'.repeat(257)}"` }, /nonce/],
    ['a key of no form', { keyid: '"x"' }, /keyid/],
    ['a key that is a token', { keyid: 'x' }, /keyid/],
  ])('401 with %s', async (_name, parameters, detail) => {
    expectRefused(await signer.send('GET', ME, undefined, { parameters }), detail);
  });

  test('401 when created 301 seconds ago or ahead, or expired', async () => {
    /** Sends again if the request took more than a second. */
    const created = async (seconds: number): Promise<Answer> => {
      for (;;) {
        const sent = now();
        const answer = await signer.send('GET', ME, undefined, { parameters: { created: String(sent + seconds) } });
        if (now() - sent <= 1) return answer;
      }
    };
    expectRefused(await created(-301), /300 seconds/);
    expectRefused(await created(302), /300 seconds/);
    expectRefused(await signer.send('GET', ME, undefined, { parameters: { expires: String(now()) } }), /expired/);
    expect((await created(299)).status).toBe(200);
    expect((await created(-295)).status).toBe(200);
  });

  test('401 when any covered part is changed', async () => {
    const value = uniqueName();
    const signed = (): Sent =>
      signer.sign(signer.request('POST', '/v1/resources', { value }, { 'x-covered': 'a' }), {
        components: ['@method', '@authority', '@path', 'content-digest', 'x-covered', 'content-type'],
        parameters: { expires: String(now() + 200), tag: '"t"' },
      });
    const third = await registerKey(mine);
    const stranger = await newSigner();
    const inInput = (from: RegExp | string, to: string) => (sent: Sent) =>
      withHeader(sent, 'signature-input', (input) => {
        expect(input).toMatch(from);
        return input.replace(from, to);
      });
    const changes: Record<string, (sent: Sent) => Sent> = {
      method: (sent) => ({ ...sent, method: 'PUT' }),
      path: (sent) => ({ ...sent, target: '/v1/%72esources' }),
      'a query': (sent) => ({ ...sent, target: '/v1/resources?owner=x' }),
      authority: (sent) => withHeader(sent, 'host', () => 'localhost'),
      port: (sent) => withHeader(sent, 'host', (host) => host.replace(/:\d+/, ':1')),
      header: (sent) => withHeader(sent, 'x-covered', () => 'b'),
      'a header twice': (sent) => ({ ...sent, headers: [...sent.headers, ['x-covered', 'a'] as const] }),
      type: (sent) => withHeader(sent, 'content-type', (type) => `${type}; charset=utf-8`),
      digest: (sent) => withHeader(sent, 'content-digest', () => digestOf('{}')),
      'digest, of another algorithm': (sent) =>
        withHeader(sent, 'content-digest', () => digestOf(JSON.stringify({ value }), 512)),
      body: (sent) => ({ ...sent, body: JSON.stringify({ value: value.replace('u', 'v') }) }),
      'body and digest': (sent) => {
        const body = JSON.stringify({ value: value.replace('u', 'v') });
        return { ...withHeader(sent, 'content-digest', () => digestOf(body)), body };
      },
      created: inInput(/created=\d+/, `created=${String(now() - 1)}`),
      expires: inInput(/expires=\d+/, `expires=${String(now() + 250)}`),
      nonce: inInput(/nonce="."?/, 'nonce="!'),
      tag: inInput('"t"', '"u"'),
      'keyid, another of the user': inInput(signer.key.id, third.id),
      'keyid, of a stranger': inInput(signer.key.id, stranger.signer.key.id),
      'keyid, of nobody': inInput(signer.key.id, randomUUID()),
      'order of the components': inInput('"@method" "@authority"', '"@authority" "@method"'),
      'components, one more': inInput('"@method"', '"@scheme" "@method"'),
      'components, one less': inInput(' "x-covered"', ''),
      'order of the parameters': inInput(/(;expires=\d+)(;tag="t")/, '$2$1'),
      'a parameter more': inInput(/$/, ';x'),
      label: inInput('sig=', 'gis='),
      signature: (sent) =>
        withHeader(sent, 'signature', (signature) => {
          const bytes = Buffer.from(signature.slice('sig=:'.length, -1), 'base64');
          bytes[40]! ^= 1;
          return `sig=:${bytes.toString('base64')}:`;
        }),
      'signature, shorter': (sent) => withHeader(sent, 'signature', () => 'sig=:AAAA:'),
      'signature, empty': (sent) => withHeader(sent, 'signature', () => 'sig=::'),
      'signature, of a stranger': (sent) => {
        const { signature } = signatureOf(stranger.signer.key, signer.request('POST', '/v1/resources', { value }));
        return withHeader(sent, 'signature', () => signature!);
      },
    };
    for (const [name, change] of Object.entries(changes)) {
      const answer = await send(api.url, change(signed()));
      expect({ name, status: answer.status, code: answer.body.code }).toEqual({
        name,
        ...(name === 'method'
          ? { status: 405, code: 'method_not_allowed' }
          : { status: 401, code: 'invalid_signature' }),
      });
    }
    expect(await resources(value)).toBe(0);
    // GET is another supported method of the path.
    const { headers, ...rest } = signed();
    const withoutBody = headers.filter(([name]) => name !== 'content-length');
    expectRefused(await send(api.url, { ...rest, headers: withoutBody, method: 'GET', body: undefined }));
    expectRefused(
      await send(api.url, { ...signer.sign(signer.request('GET', '/v1/auth/sessions')), method: 'HEAD' }).then(
        (answer) => ({
          ...answer,
          // A HEAD response has no body, so only the status can be checked.
          ...(answer.status === 401 ? { body: refusalOf(answer) } : {}),
        }),
      ),
    );
    expect((await send(api.url, signed())).status).toBe(201);
  });

  /** Returns the body that the response to another method would have. */
  function refusalOf({ headers }: Answer): object {
    const requestId = headers.get('x-request-id');
    return { code: 'invalid_signature', type: '', title: '', status: 401, detail: '', instance: '', requestId };
  }

  test('401 when the query is changed, added or removed', async () => {
    for (const [from, to] of [
      ['?limit=1', '?limit=2'],
      ['?limit=1', ''],
      ['', '?limit=1'],
      ['?limit=1', '?limit=%31'],
      ['?limit=1', '?limit=1&'],
      ['', '#limit=1'],
      ['?limit=1', '?limit=1#'],
    ]) {
      const sent = signer.sign(signer.request('GET', `/v1/resources${from}`));
      expectRefused(await send(api.url, { ...sent, target: `/v1/resources${to}` }));
    }
  });

  test('checked against the request line and the Host header; headers of an untrusted proxy are ignored', async () => {
    const { host } = new URL(api.url);
    const absolute = signer.sign(signer.request('GET', ME));
    expect((await send(api.url, { ...absolute, target: `http://${host}${ME}` })).status).toBe(200);
    const elsewhere = signer.sign(signer.request('GET', ME));
    expectRefused(await send(api.url, { ...elsewhere, target: `http://elsewhere.example${ME}` }));
    const upper = { ...signer.request('GET', ME), authority: host };
    const shouted = withHeader(signer.sign(upper), 'host', (name) => name.toUpperCase());
    expect((await send(api.url, shouted)).status).toBe(200);
    // Without TRUST_PROXY the headers of a proxy are ignored.
    const proxied = signer.sign({ ...signer.request('GET', ME), authority: 'api.example' });
    const headers = [
      ['host', host],
      ['x-forwarded-host', 'api.example'],
      ['x-forwarded-proto', 'https'],
    ] as const;
    expectRefused(
      await send(api.url, {
        ...proxied,
        headers: [...proxied.headers.filter(([name]) => name !== 'host'), ...headers],
      }),
    );
  });

  test('401 when its headers are malformed, missing or repeated', async () => {
    const sent = signer.sign(signer.request('POST', '/v1/tasks', { title: 'x' }));
    for (const name of ['signature-input', 'signature', 'content-digest']) {
      const without = { ...sent, headers: sent.headers.filter(([each]) => each !== name) };
      expectRefused(await send(api.url, without));
      for (const value of ['', 'x', 'sig', 'sig=', 'sig=1', 'sig=("', '\u00ff', ',', 'sig=:AA', 'x'.repeat(8_000)]) {
        expectRefused(
          await send(
            api.url,
            withHeader(sent, name, () => value),
          ),
        );
      }
      const value = sent.headers.find(([each]) => each === name)![1];
      expectRefused(await send(api.url, { ...sent, headers: [...sent.headers, [name, value]] }), /only once/);
    }
    // RFC 9112, section 3.2 requires 400 for two Host headers, regardless of the signature.
    const ofTwoHosts = { ...sent, headers: [...sent.headers, ['host', 'elsewhere.example'] as const] };
    expectProblem(await send(api.url, ofTwoHosts), 400, 'validation_failed');
    expectRefused(
      await send(
        api.url,
        withHeader(sent, 'signature-input', (input) => `${input}, two=${input.slice(4)}`),
      ),
      /one signature/,
    );
    // Rejected requests do not use up the nonce.
    expect((await send(api.url, sent)).status).toBe(201);
  });

  test('accepted next to the signature of a proxy', async () => {
    const sent = signer.sign(signer.request('GET', ME));
    const first = withHeader(sent, 'signature-input', (input) => `proxy=("@method");keyid="proxy", ${input}`);
    expect(
      (
        await send(
          api.url,
          withHeader(first, 'signature', (each) => `${each}, proxy=:AAAA:`),
        )
      ).status,
    ).toBe(200);
  });

  test('401 next to another credential', async () => {
    const signed = signer.sign(signer.request('GET', ME));
    for (const authorization of [`Bearer ${user.accessToken}`, 'Bearer x', '']) {
      const headers = [...signed.headers, ['authorization', authorization] as const];
      expectRefused(await send(api.url, { ...signed, headers }), /not both/);
      const alone = [
        ['host', 'x'],
        ['authorization', authorization],
        ['signature', 'x'],
      ] as const;
      expectRefused(await send(api.url, { ...signed, headers: [...alone] }), /not both/);
    }
    expect((await send(api.url, signed)).status).toBe(200);
  });

  test('401 with a body on GET; without a body the digest is optional', async () => {
    const signed = signer.request('GET', ME, { a: 1 });
    expectRefused(await send(api.url, signer.sign(signed)), /must not have a body/);
    expect((await signer.send('DELETE', '/v1/store/nothing', { a: 1 })).status).toBe(404);
    expectRefused(await signer.send('DELETE', '/v1/store/nothing', { a: 1 }, { digest: digestOf('{}') }));
    expect((await signer.send('POST', '/v1/tasks', undefined, { digest: digestOf('') })).status).toBe(201);
    expectRefused(await signer.send('POST', '/v1/tasks', undefined, { digest: digestOf('x') }));
  });

  test('malformed, too large or non-JSON body: same status as without a signature', async () => {
    const raw = (text: string): Promise<Answer> =>
      signer.send('POST', '/v1/resources', Buffer.from(text), { headers: { 'content-type': 'application/json' } });
    expectProblem(await raw('{'), 400, 'malformed_json');
    expectProblem(await raw(' '.repeat(2 ** 21)), 413, 'body_too_large');
    expectProblem(await signer.send('POST', '/v1/resources', Buffer.from('x')), 415, 'unsupported_media_type');
    // Invalid UTF-8: the signed bytes match, but they are not JSON.
    const latin = Buffer.from('{"value":"caf\u00e9"}', 'latin1');
    const answer = await signer.send('POST', '/v1/resources', latin, {
      headers: { 'content-type': 'application/json' },
    });
    expectProblem(answer, 400, 'malformed_json');
  });

  test('ignored by public routes and by /call', async () => {
    expect(
      (await signer.send('POST', '/v1/auth/login', { login: user.username, password: user.password })).status,
    ).toBe(200);
    expect(
      (
        await send(
          api.url,
          withHeader(signer.sign(signer.request('GET', '/livez')), 'signature', () => 'x'),
        )
      ).status,
    ).toBe(200);
    expectProblem(await signer.send('GET', '/call/api1'), 401, 'unauthenticated');
    const key = await mine.createKey();
    const call = signer.sign(signer.request('POST', '/call/api1', { a: 1 }, { 'x-api-key': key.key }));
    expect((await send(api.url, { ...call, body: '{"a":2}' })).text).toBe('API1');
  });

  test('has no session: 403 on sign-out; remains valid after a password change', async () => {
    const { account, signer: own } = await newSigner();
    expectProblem(await own.send('POST', '/v1/auth/logout'), 403, 'forbidden');
    const change = { currentPassword: account.password, newPassword: 'Unguessable-8' };
    expectProblem(
      await own.send('POST', '/v1/auth/password', { ...change, currentPassword: 'x' }),
      401,
      'invalid_credentials',
    );
    expect((await own.send('POST', '/v1/auth/password', change)).status).toBe(204);
    expectProblem(await api.as(account).get(ME), 401, 'invalid_token');
    expect((await own.send('GET', ME)).status).toBe(200);
  });

  test('key revoked, user disabled or deleted: rejected at once on both nodes', async () => {
    const { account, signer: own } = await newSigner();
    const admin = await api.admin();
    const [here, there] = [own, own.at(other.url)];
    for (const each of [here, there]) expect((await each.send('GET', ME)).status).toBe(200);
    await admin.patch(`/v1/users/${account.id}`, { status: 'disabled' });
    for (const each of [here, there]) {
      expectProblem(await each.send('GET', ME), 403, 'account_disabled');
      // Without a valid signature, the response does not reveal that the account is disabled.
      expectRefused(await each.send('GET', ME, undefined, { components: [] }));
      const forged = new Signer(each.url, { ...each.key, privateKey: signer.key.privateKey });
      expectRefused(await forged.send('GET', ME));
    }
    await admin.patch(`/v1/users/${account.id}`, { status: 'active' });
    for (const each of [here, there]) expect((await each.send('GET', ME)).status).toBe(200);
    expect((await here.send('DELETE', `/v1/auth/signing-keys/${own.key.id}`)).status).toBe(204);
    for (const each of [here, there]) {
      expectRefused(await each.send('GET', ME));
      expectRefused(await each.send('PUT', '/v1/store/x', 'x'.repeat(100_000)));
    }
    const gone = await newSigner();
    expect((await gone.signer.send('GET', ME)).status).toBe(200);
    expect((await admin.delete(`/v1/users/${gone.account.id}`)).status).toBe(204);
    for (const url of [api.url, other.url]) expectRefused(await gone.signer.at(url).send('GET', ME));
  });
});

describe('nonce', () => {
  test('used again: 401, also on another process', async () => {
    const sent = signer.sign(signer.request('GET', ME));
    expect((await send(api.url, sent)).status).toBe(200);
    // Both processes share one authority, as behind a load balancer, because the signature covers it.
    for (const url of [api.url, other.url, api.url]) expectRefused(await send(url, sent), /nonce/);
    const parameters = { nonce: '"the same"' };
    expect((await signer.send('GET', ME, undefined, { parameters })).status).toBe(200);
    expectRefused(await signer.at(other.url).send('GET', '/v1/resources', undefined, { parameters }), /nonce/);
    // Nonces are separate for each key.
    const second = new Signer(api.url, await registerKey(mine));
    expect((await second.send('GET', ME, undefined, { parameters })).status).toBe(200);
  });

  test('used again with a large body: 401', async () => {
    const body = { entries: [{ key: uniqueName(), value: 'x'.repeat(100_000) }] };
    const sent = signer.sign(signer.request('POST', '/v1/store/write', body));
    expect((await send(other.url, sent)).status).toBe(200);
    expectRefused(await send(api.url, sent), /nonce/);
  });

  test('100 concurrent requests on two processes: exactly one is accepted', async () => {
    for (let round = 0; round < 3; round++) {
      const value = uniqueName();
      const sent = signer.sign(signer.request('POST', '/v1/resources', { value }));
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => send([api.url, other.url][i % 2]!, sent)),
      );
      const refused = answers.filter(({ status }) => status !== 201);
      expect(refused).toHaveLength(99);
      for (const answer of refused) expectRefused(answer, /nonce/);
      expect(await resources(value)).toBe(1);
    }
  });

  test('stored as a hash before the request runs', async () => {
    const nonce = uniqueName();
    expect((await signer.send('GET', ME, undefined, { parameters: { nonce: `"${nonce}"` } })).status).toBe(200);
    const rows = await fleet.query('SELECT owner_id, key_id FROM request_nonces WHERE nonce_hash = $1', [
      createHash('sha256').update(nonce).digest(),
    ]);
    expect(rows).toEqual([{ owner_id: user.id, key_id: signer.key.id }]);
  });

  test('not used up by an invalid signature or another body', async () => {
    const sent = signer.sign(signer.request('POST', '/v1/resources', { value: 'mine' }));
    expectRefused(
      await send(
        api.url,
        withHeader(sent, 'signature', () => `sig=:${Buffer.alloc(64).toString('base64')}:`),
      ),
    );
    expectRefused(await send(api.url, { ...sent, body: JSON.stringify({ value: 'your' }) }));
    expect((await send(api.url, sent)).status).toBe(201);
  });

  test('deleted once no signature with it can be valid', async () => {
    const parameters = { nonce: `"${uniqueName()}"` };
    expect((await signer.send('GET', ME, undefined, { parameters })).status).toBe(200);
    const count = async (): Promise<number> =>
      (
        await fleet.query(
          `SELECT count(*)::int AS count FROM request_nonces WHERE signed_at < now() - interval '601 s'`,
        )
      )[0].count;
    // Counted in the same statement: any process may sweep the rows at any time.
    const [put] = await fleet.query(
      `WITH put AS (
         INSERT INTO request_nonces (owner_id, key_id, nonce_hash, signed_at)
         SELECT $1, $2, sha256(n::text::bytea), now() - interval '602 s' FROM generate_series(1, 2500) n RETURNING signed_at
       ) SELECT count(*)::int AS count FROM put WHERE signed_at < now() - interval '601 s'`,
      [user.id, signer.key.id],
    );
    expect(put).toEqual({ count: 2500 });
    // A new process sweeps first.
    const third = await TestServer.start({ DATABASE_URL: fleet.url });
    await until(async () => (await count()) === 0);
    await third.stop();
    expectRefused(await signer.send('GET', ME, undefined, { parameters }), /nonce/);
  });
});

describe('Idempotency-Key', () => {
  test('signed request sent again with a new signature: replayed once', async () => {
    const value = uniqueName();
    const headers = { 'idempotency-key': uniqueName() };
    const first = await signer.send('POST', '/v1/resources', { value }, { headers });
    const again = await signer.at(other.url).send('POST', '/v1/resources', { value }, { headers });
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await resources(value)).toBe(1);
    // A session of the same user replays it too.
    const third = await mine.post('/v1/resources', { value }, { headers });
    expect(third).toMatchObject({ status: 201, body: first.body });
  });
});

test('signature behind a trusted proxy: must match the forwarded host and scheme', async () => {
  const server = await TestServer.start({ DATABASE_URL: fleet.url, TRUST_PROXY: '127.0.0.1' });
  const forwarded = (scheme: string, authority: string): Promise<Answer> => {
    const signed = { ...signer.request('GET', ME), authority: 'api.example' };
    const otherwise = { components: ['@method', '@target-uri'], scheme: 'https' };
    const { headers, ...rest } = signer.sign(signed, otherwise);
    const rewritten = headers.map(([name, value]) =>
      name === 'host' ? (['host', '10.0.0.1:3000'] as const) : ([name, value] as const),
    );
    const added = [
      ['x-forwarded-host', authority],
      ['x-forwarded-proto', scheme],
    ] as const;
    return send(server.url, { ...rest, headers: [...rewritten, ...added] });
  };
  expect((await forwarded('https', 'api.example')).status).toBe(200);
  expect((await forwarded('https', 'api.example:443')).status).toBe(200);
  expectRefused(await forwarded('http', 'api.example'));
  expectRefused(await forwarded('https', 'other.example'));
  await server.stop();
});
