import { Api, expectProblem, uniqueName, type Answer } from './support/api.js';
import { Fleet, tally } from './support/fleet.js';
import { overloadedAgain } from './support/overloaded.js';
import { TestServer } from './support/server.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

const PASSWORD = 'Unguessable-7';

/** Logins of each kind whose responses are compared. */
const { ROUNDS } = sizesOf('signIn');

let fleet: Fleet;
/** The same platform at two processes that trust the X-Forwarded-For of this machine. */
let apis: Api[];

beforeAll(async () => {
  fleet = await Fleet.start(2, undefined, { TRUST_PROXY: '127.0.0.1' });
  apis = fleet.servers.map(({ url }) => new Api(url));
});

afterAll(async () => {
  await fleet.stop();
});

let addresses = 0;

/** Returns a client address that no other test uses. */
const newAddress = (): string => `192.0.2.${++addresses}`;

const newUser = async (fields: object = {}): Promise<string> => {
  const username = uniqueName();
  const made = await fleet.admin().post('/v1/users', { username, password: PASSWORD, ...fields });
  if (made.status !== 201) throw new Error(made.text);
  return username;
};

/** @param turn selects the process */
function signIn(login: string, password: string, address: string, turn = 0): Promise<Answer> {
  const headers = { 'x-forwarded-for': address };
  return apis[turn % 2]!.post('/v1/auth/login', { login, password }, { headers });
}

async function fail(times: number, login: string, address: string, turn = 0): Promise<void> {
  for (let i = 0; i < times; i++) {
    expectProblem(await signIn(login, `wrong ${i}`, address, turn), 401, 'invalid_credentials');
  }
}

function expectThrottled(answer: Answer): void {
  expectProblem(answer, 429, 'too_many_attempts');
  const seconds = Number(answer.headers.get('retry-after'));
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThanOrEqual(900);
}

const codesOf = (answers: Answer[]): Record<string, number> =>
  tally(answers.map(({ status, body }) => `${status} ${String(body.code ?? '')}`.trim()));

/** Sends concurrent requests and retries those that get 503 overloaded, which happens on slow machines. */
const judged = (count: number, send: (i: number) => Promise<Answer>): Promise<Answer[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => overloadedAgain(() => send(i))));

/** Moves all attempts from an address some minutes into the past. */
async function letPass(minutes: number, address: string): Promise<void> {
  await fleet.query(
    `UPDATE sign_in_streaks SET at = at - make_interval(mins => $1)
     WHERE account IN (SELECT account FROM sign_in_attempts WHERE place = $2)`,
    [minutes, address],
  );
  await fleet.query(`UPDATE sign_in_attempts SET at = at - make_interval(mins => $1) WHERE place = $2`, [
    minutes,
    address,
  ]);
}

describe('throttling by account and address', () => {
  test.concurrent(
    'ten wrong passwords: 429 at both processes, even with the right one; other addresses can sign in',
    async () => {
      const user = await newUser();
      const [bad, good] = [newAddress(), newAddress()];
      await fail(5, user, bad, 0);
      await fail(5, user.toUpperCase(), bad, 1);
      for (const turn of [0, 1]) {
        expectThrottled(await signIn(user, 'wrong', bad, turn));
        expectThrottled(await signIn(user, PASSWORD, bad, turn));
      }
      expect((await signIn(user, PASSWORD, good, 1)).status).toBe(200);
      // A sign-in from another address does not reset the count.
      expectThrottled(await signIn(user, PASSWORD, bad));
      await letPass(16, bad);
      expect((await signIn(user, PASSWORD, bad)).status).toBe(200);
    },
  );

  test.concurrent('wrong passwords for the username and the e-mail, in any spelling: counted together', async () => {
    const local = uniqueName();
    const [email, spelling] = [`straße.${local}@münchen.example`, `STRASSE.${local}@xn--mnchen-3ya.EXAMPLE`];
    const user = await newUser({ email });
    const address = newAddress();
    await fail(3, user, address);
    await fail(3, email, address, 1);
    await fail(3, spelling, address);
    await fail(1, user.toUpperCase(), address, 1);
    for (const name of [user, email, spelling]) expectThrottled(await signIn(name, PASSWORD, address));
    expect((await signIn(spelling, PASSWORD, newAddress())).status).toBe(200);
    // A sign-in by one name resets failures by the other.
    const home = newAddress();
    await fail(9, user, home);
    expect((await signIn(email, PASSWORD, home)).status).toBe(200);
    await fail(9, email, home);
    expect((await signIn(user, PASSWORD, home, 1)).status).toBe(200);
  });

  test.concurrent(
    '60 concurrent wrong passwords for the username and the e-mail at two processes: 10 get 401, 50 get 429',
    async () => {
      const email = `${uniqueName()}@example.com`;
      const names = [await newUser({ email }), email];
      const address = newAddress();
      // Each process gets both names.
      const answers = await judged(60, (i) => signIn(names[i % 2]!, `wrong ${i}`, address, i >> 1));
      expect(codesOf(answers)).toEqual({ '401 invalid_credentials': 10, '429 too_many_attempts': 50 });
      for (const name of names) expectThrottled(await signIn(name, PASSWORD, address));
    },
  );

  test.concurrent('username renamed, e-mail added: the count remains', async () => {
    const user = await newUser();
    const address = newAddress();
    await fail(10, user, address);
    const [username, email] = [uniqueName(), `${uniqueName()}@example.com`];
    expect((await fleet.admin().patch(`/v1/users/${user}`, { username, email })).status).toBe(200);
    for (const name of [username, email]) expectThrottled(await signIn(name, PASSWORD, address));
    // The former name belongs to no account, and neither does its count.
    await fail(10, user, address);
    expectThrottled(await signIn(user, PASSWORD, address));
  });

  test.concurrent('name that gets an account later: the account starts with ten attempts', async () => {
    const [name, address] = [uniqueName(), newAddress()];
    await fail(10, name, address);
    expectThrottled(await signIn(name, PASSWORD, address));
    const email = `${uniqueName()}@example.com`;
    const made = await fleet.admin().post('/v1/users', { username: name, email, password: PASSWORD });
    expect(made.status).toBe(201);
    await fail(5, name, address);
    await fail(5, email, address, 1);
    for (const login of [name, email]) expectThrottled(await signIn(login, PASSWORD, address));
  });

  test('unknown account: counted by name in any spelling', async () => {
    const local = uniqueName();
    const address = newAddress();
    await fail(5, `straße.${local}@münchen.example`, address);
    await fail(5, `STRASSE.${local}@xn--mnchen-3ya.example`, address, 1);
    expectThrottled(await signIn(`strasse.${local}@MÜNCHEN.example`, PASSWORD, address));
    await fail(1, `strasse.${uniqueName()}@MÜNCHEN.example`, address);
  });

  test.concurrent('unknown account: 429 after ten attempts, as for an existing one', async () => {
    const [nobody, address] = [uniqueName(), newAddress()];
    await fail(10, nobody, address);
    expectThrottled(await signIn(nobody, PASSWORD, address, 1));
    expect((await signIn(await newUser(), PASSWORD, address)).status).toBe(200);
  });

  test.concurrent('sign-in with the right password: resets the count', async () => {
    const user = await newUser();
    const address = newAddress();
    for (let i = 0; i < 3; i++) {
      await fail(9, user, address, i);
      expect((await signIn(user, PASSWORD, address, i)).status).toBe(200);
    }
  });

  test.concurrent('60 concurrent wrong passwords at two processes: 10 get 401, 50 get 429', async () => {
    const user = await newUser();
    const address = newAddress();
    const answers = await judged(60, (i) => signIn(user, `wrong ${i}`, address, i));
    expect(codesOf(answers)).toEqual({ '401 invalid_credentials': 10, '429 too_many_attempts': 50 });
  });

  test.concurrent('60 concurrent right passwords: all get 200', async () => {
    const user = await newUser();
    const address = newAddress();
    const answers = await judged(60, (i) => signIn(user, PASSWORD, address, i));
    expect(codesOf(answers)).toEqual({ '200': 60 });
  });

  test.concurrent('pending attempts: delay the decision, and count as failed after a timeout', async () => {
    const user = await newUser();
    const address = newAddress();
    await fail(1, user, address);
    await fleet.query(
      `INSERT INTO sign_in_attempts (account, place, at)
       SELECT account, place, clock_timestamp() FROM sign_in_attempts, generate_series(1, 9) WHERE place = $1`,
      [address],
    );
    // Nine attempts are pending, so this one waits for their outcome.
    const waiting = overloadedAgain(() => signIn(user, PASSWORD, address));
    await fleet.query(`DELETE FROM sign_in_attempts WHERE place = $1 AND NOT failed`, [address]);
    expect((await waiting).status).toBe(200);
    await fail(1, user, address);
    await fleet.query(
      `INSERT INTO sign_in_attempts (account, place, at)
       SELECT account, place, clock_timestamp() - interval '2 minutes' FROM sign_in_attempts, generate_series(1, 9) WHERE place = $1`,
      [address],
    );
    expectThrottled(await signIn(user, PASSWORD, address));
  });
});

describe('throttling by address', () => {
  test.concurrent('100 wrong passwords for any accounts: 429 for every account', async () => {
    const address = newAddress();
    const names = Array.from({ length: 100 }, () => uniqueName());
    const answers = await judged(100, (i) => signIn(names[i]!, 'wrong', address, i));
    expect(codesOf(answers)).toEqual({ '401 invalid_credentials': 100 });
    const user = await newUser();
    for (const turn of [0, 1]) expectThrottled(await signIn(user, PASSWORD, address, turn));
    expect((await signIn(user, PASSWORD, newAddress())).status).toBe(200);
    await letPass(16, address);
    expect((await signIn(user, PASSWORD, address)).status).toBe(200);
  });

  test.concurrent('account that signed in there before: not throttled by attempts on other accounts', async () => {
    const [user, address] = [await newUser(), newAddress()];
    expect((await signIn(user, PASSWORD, address)).status).toBe(200);
    await judged(100, (i) => signIn(uniqueName(), 'wrong', address, i));
    expectThrottled(await signIn(uniqueName(), 'wrong', address));
    await fail(9, user, address);
    expect((await signIn(user, PASSWORD, address, 1)).status).toBe(200);
    await fail(10, user, address);
    expectThrottled(await signIn(user, PASSWORD, address));
  });

  test.concurrent('IPv6 counts by /64, IPv4-mapped IPv6 as IPv4', async () => {
    const user = await newUser();
    for (let i = 0; i < 10; i++) await fail(1, user, `2001:db8:0:1::${i.toString(16)}`);
    expectThrottled(await signIn(user, PASSWORD, '2001:0db8::1:ffff:ffff:ffff:ffff'));
    expect((await signIn(user, PASSWORD, '2001:db8:0:2::1')).status).toBe(200);
    const address = newAddress();
    await fail(10, user, `::ffff:${address}`);
    expectThrottled(await signIn(user, PASSWORD, address));
  });

  test.concurrent('no trusted proxy: the connection address counts', async () => {
    const server = await TestServer.start({ DATABASE_URL: fleet.url });
    const direct = new Api(server.url);
    const user = await newUser();
    const from = (password: string): Promise<Answer> =>
      direct.post('/v1/auth/login', { login: user, password }, { headers: { 'x-forwarded-for': newAddress() } });
    for (let i = 0; i < 10; i++) expectProblem(await from('wrong'), 401, 'invalid_credentials');
    expectThrottled(await from(PASSWORD));
    expect((await signIn(user, PASSWORD, newAddress())).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });
});

describe('throttling by account at any address', () => {
  /** Sends wrong passwords from many addresses. */
  async function failAfar(user: string, times: number): Promise<void> {
    const answers = await judged(times, (i) => signIn(user, 'wrong', `198.51.${100 + (i >> 7)}.${i & 127}`, i));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
  }

  /**
   * Sets the number of failures and places the last one `ahead` seconds in the future: a pause may be shorter than a
   * request. @returns the time of the last failure, in seconds since 1970
   */
  async function setStreak(failures: number, ahead = 60): Promise<number> {
    const [{ at }] = await fleet.query(
      `UPDATE sign_in_streaks SET failures = $1, at = clock_timestamp() + make_interval(secs => $2) WHERE failures >= 90
       RETURNING extract(epoch FROM at)::float8 AS at`,
      [failures, ahead],
    );
    return at;
  }

  const clock = async (): Promise<number> =>
    (await fleet.query('SELECT extract(epoch FROM clock_timestamp())::float8 AS now'))[0].now;

  test('one attempt after each pause; never throttled where the owner signed in before', async () => {
    const user = await newUser();
    const home = newAddress();
    expect((await signIn(user, PASSWORD, home)).status).toBe(200);
    await failAfar(user, 100);
    await setStreak(100);
    const afar = newAddress();
    for (const [failures, pause] of [
      [100, 1],
      [104, 16],
      [109, 512],
      [110, 900],
      [5_000, 900],
    ] as const) {
      const end = (await setStreak(failures)) + pause;
      const before = await clock();
      const answer = await signIn(user, PASSWORD, afar);
      const after = await clock();
      expectProblem(answer, 429, 'too_many_attempts');
      // Exact to the second, measured when the server judged it.
      expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(Math.ceil(end - before));
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(Math.ceil(end - after));
    }
    // One attempt is allowed after the pause, then the next pause begins.
    await setStreak(105);
    await fleet.query(`UPDATE sign_in_streaks SET at = at - interval '2 minutes' WHERE failures >= 90`);
    expectProblem(await signIn(user, 'wrong', afar), 401, 'invalid_credentials');
    expectThrottled(await signIn(user, PASSWORD, afar, 1));
    // Other clients cannot lock the owner out of a known address, and its sign-in ends the streak.
    expect((await signIn(user, PASSWORD, home, 1)).status).toBe(200);
    expect((await signIn(user, PASSWORD, newAddress())).status).toBe(200);
  });

  test('unknown account: throttled like an existing one', async () => {
    const nobody = uniqueName();
    await failAfar(nobody, 100);
    await setStreak(120, 0);
    expectThrottled(await signIn(nobody, PASSWORD, newAddress()));
  });
});

describe('enumeration of accounts', () => {
  /** Returns a response without the parts that differ each time. */
  const telling = ({ status, headers, text, body }: Answer): string => {
    const said = [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name));
    return JSON.stringify([status, said, text.replace(String(body.requestId), 'ID')]);
  };

  test.concurrent('wrong password: identical 401 for existing and unknown accounts', async () => {
    const email = `${uniqueName()}@example.com`;
    const users = await Promise.all([newUser(), newUser({ email }), newUser({ role: 'admin' })]);
    const disabled = await newUser();
    await fleet.admin().patch(`/v1/users/${disabled}`, { status: 'disabled' });
    const known = [...users, email, disabled];
    const answers = new Set<string>();
    for (let i = 0; i < ROUNDS; i++) {
      // Names of the same length, so that responses have equal lengths; each pair has its own address.
      const name = known[i % known.length]!;
      const nobody = name.replace(/^u[0-9a-f]{8}/, uniqueName().slice(0, 9));
      const address = `203.0.${i >> 7}.${i & 127}`;
      answers.add(telling(await signIn(name, 'Wrong-password-1', address, i)));
      answers.add(telling(await signIn(nobody, 'Wrong-password-1', address, i)));
    }
    expect([...answers]).toHaveLength(1);
  });

  test.concurrent('too many attempts: identical 429 for existing and unknown accounts', async () => {
    const [user, address] = [await newUser(), newAddress()];
    await Promise.all([fail(10, user, address), fail(10, `${user.slice(0, -4)}beef`, address)]);
    const answers = await Promise.all(
      [user, `${user.slice(0, -4)}beef`].map((name) => signIn(name, PASSWORD, address)),
    );
    const [one, other] = answers.map((answer) => telling(answer).replace(/"retry-after","\d+"/, ''));
    expect(one).toBe(other);
    expect(one).toContain('429');
  });

  test.concurrent('stored attempts contain no login and no user id', async () => {
    const [user, nobody, secret] = [await newUser(), uniqueName(), 'My-password-in-the-wrong-field-1'];
    for (const login of [user, nobody, secret]) await fail(1, login, newAddress());
    const rows = JSON.stringify(
      await fleet.query(
        `SELECT a::text, s::text FROM sign_in_attempts a FULL JOIN sign_in_streaks s ON s.account = a.account`,
      ),
    );
    const { id } = (await fleet.admin().get(`/v1/users/${user}`)).body;
    for (const text of [user, nobody, secret, id]) {
      expect(rows).not.toContain(text);
      expect(rows).not.toContain(Buffer.from(text).toString('hex'));
    }
  });
});

describe('confirmation of the current password', () => {
  test.concurrent('POST /v1/auth/password: 429 after ten wrong passwords of a session', async () => {
    const user = await newUser();
    const address = newAddress();
    const session = (await signIn(user, PASSWORD, newAddress())).body;
    const change = (currentPassword: string, turn: number): Promise<Answer> =>
      apis[turn % 2]!.as(session).post(
        '/v1/auth/password',
        { currentPassword, newPassword: 'Unguessable-8' },
        { headers: { 'x-forwarded-for': address } },
      );
    const answers = await judged(30, (i) => change('wrong', i));
    expect(codesOf(answers)).toEqual({ '401 invalid_credentials': 10, '429 too_many_attempts': 20 });
    expectThrottled(await change(PASSWORD, 1));
    // The owner can still sign in from there: the attempts of a session are counted separately.
    expect((await signIn(user, PASSWORD, address)).status).toBe(200);
  });

  test.concurrent('POST /v1/auth/password: not throttled by sign-ins with the user id as login', async () => {
    const address = newAddress();
    const session = (await signIn(await newUser(), PASSWORD, newAddress())).body;
    const answers = await judged(12, () => signIn(session.user.id, 'wrong', address));
    expect(codesOf(answers)).toEqual({ '401 invalid_credentials': 10, '429 too_many_attempts': 2 });
    const answer = await apis[0]!
      .as(session)
      .post(
        '/v1/auth/password',
        { currentPassword: PASSWORD, newPassword: 'Unguessable-8' },
        { headers: { 'x-forwarded-for': address } },
      );
    expect(answer.status).toBe(204);
  });
});

describe('throttling of recovery requests', () => {
  test.concurrent('POST /v1/auth/recovery: 429 after ten from an address in 15 minutes, for any accounts', async () => {
    const address = newAddress();
    const ask = (turn: number): Promise<Answer> =>
      apis[turn % 2]!.post('/v1/auth/recovery', { login: uniqueName() }, { headers: { 'x-forwarded-for': address } });
    for (let quarter = 0; quarter < 12; quarter++) {
      const answers = await Promise.all(Array.from({ length: 11 }, (_, i) => ask(i)));
      expect(codesOf(answers)).toEqual({ '202': 10, '429 too_many_attempts': 1 });
      expectThrottled(await ask(1));
      await letPass(16, address);
    }
  });
});

describe('password hashes', () => {
  test.concurrent('sign-in after a change of the parameters: rehashes the password and keeps sessions', async () => {
    const user = await newUser();
    const hashOf = async (): Promise<string> =>
      (await fleet.query('SELECT password_hash FROM users WHERE username = $1', [user]))[0].password_hash;
    const session = (await signIn(user, PASSWORD, newAddress())).body;
    const before = await hashOf();
    const server = await TestServer.start({ DATABASE_URL: fleet.url, ARGON2_MEMORY: '8192', ARGON2_PASSES: '3' });
    const other = new Api(server.url);
    expect((await other.post('/v1/auth/login', { login: user, password: 'wrong' })).status).toBe(401);
    expect(await hashOf()).toBe(before);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => other.post('/v1/auth/login', { login: user, password: PASSWORD })),
    );
    expect(codesOf(answers)).toEqual({ '200': 8 });
    expect(await hashOf()).toMatch(/^\$argon2id\$v=19\$m=8192,t=3,p=1\$/);
    expect((await apis[0]!.as(session).get('/v1/users/me')).status).toBe(200);
    expect((await other.post('/v1/auth/login', { login: user, password: PASSWORD })).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });
});

// Last, because a flood slows down every other test.
describe('flood of sign-ins and registrations', () => {
  /** Sends requests continuously from the given number of networks, while a user signs in five times concurrently. */
  async function flooded(
    addresses: number,
    send: (address: string, i: number) => Promise<Answer>,
    signInOnce: () => Promise<Answer>,
  ): Promise<Answer[]> {
    const state = { on: true };
    let answered = 0;
    const senders = Array.from({ length: 150 }, async (_, n) => {
      for (let i = 0; state.on; i++) {
        await send(`172.16.${n % addresses}.${addresses === 1 ? 1 : i & 255}`, n + 150 * i);
        answered++;
      }
    });
    const flooding = Promise.all(senders);
    try {
      await until(() => answered >= 150, flooding);
      return await Promise.race([Promise.all(Array.from({ length: 5 }, signInOnce)), flooding.then(() => [])]);
    } finally {
      state.on = false;
      await flooding;
    }
  }

  const register = (address: string): Promise<Answer> =>
    apis[0]!.post(
      '/v1/auth/register',
      { username: 'admin', password: PASSWORD },
      { headers: { 'x-forwarded-for': address } },
    );

  test.each([
    ['registrations from one address', 1, (address: string) => register(address)],
    ['sign-ins of nobody from one address', 1, (address: string, i: number) => signIn(`nobody${i}`, 'wrong', address)],
  ])('%s: other users can sign in', async (_name, count, send) => {
    const user = await newUser();
    const answers = await flooded(count, send, () => signIn(user, PASSWORD, newAddress()));
    expect(codesOf(answers)).toEqual({ '200': 5 });
  });

  test('from many addresses: users can sign in where they signed in before', async () => {
    const user = await newUser();
    const home = newAddress();
    expect((await signIn(user, PASSWORD, home)).status).toBe(200);
    const send = (address: string, i: number): Promise<Answer> => signIn(`nobody${i}`, 'wrong', address);
    const answers = await flooded(250, send, () => signIn(user, PASSWORD, home));
    expect(codesOf(answers)).toEqual({ '200': 5 });
  });
});
