import { randomBytes } from 'node:crypto';
import { ADMIN_PASSWORD } from './server.js';

/** An answer, read whole. `body` is parsed JSON, or the text where it is none. */
export interface Answer<T = any> {
  status: number;
  headers: Headers;
  body: T;
  text: string;
}

export interface Account {
  id: string;
  username: string;
  password: string;
  accessToken: string;
  refreshToken: string;
}

interface Init {
  headers?: Record<string, string>;
  raw?: string;
}

/** Speaks to one server, as nobody or as somebody. */
export class Api {
  constructor(
    readonly url: string,
    readonly token?: string,
  ) {}

  as(account: { accessToken: string }): Api {
    return new Api(this.url, account.accessToken);
  }

  get(path: string, init?: Init): Promise<Answer> {
    return this.send('GET', path, undefined, init);
  }

  post(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('POST', path, body, init);
  }

  put(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('PUT', path, body, init);
  }

  patch(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('PATCH', path, body, init);
  }

  delete(path: string, init?: Init): Promise<Answer> {
    return this.send('DELETE', path, undefined, init);
  }

  async send(method: string, path: string, body?: unknown, init: Init = {}): Promise<Answer> {
    const text = init.raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
        ...init.headers,
      },
      ...(text === undefined ? {} : { body: text }),
    });
    const answer = await response.text();
    const isJson = (response.headers.get('content-type') ?? '').includes('json');
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && answer !== '' ? JSON.parse(answer) : answer,
      text: answer,
    };
  }

  /** Signs in; fails the test when that fails. */
  async signIn(
    login: string,
    password: string,
  ): Promise<{ accessToken: string; refreshToken: string; user: { id: string } }> {
    const answer = await this.post('/v1/auth/login', { login, password });
    if (answer.status !== 200) throw new Error(`Sign-in answered ${String(answer.status)}: ${answer.text}`);
    return answer.body;
  }

  /** The administrator that the start made. */
  async admin(): Promise<Api> {
    return this.as(await this.signIn('admin', ADMIN_PASSWORD));
  }

  /** Makes an account with a name of its own and signs it in. */
  async createUser(overrides: { password?: string; [field: string]: unknown } = {}): Promise<Account> {
    const username = uniqueName();
    const password = 'Unguessable-7';
    const made = await (await this.admin()).post('/v1/users', { username, password, ...overrides });
    if (made.status !== 201) throw new Error(`Making a user answered ${String(made.status)}: ${made.text}`);
    const { accessToken, refreshToken } = await this.signIn(
      made.body.username ?? made.body.email,
      overrides.password ?? password,
    );
    return { id: made.body.id, username: made.body.username, password, accessToken, refreshToken };
  }
}

/** A username that no other test has. */
export function uniqueName(): string {
  return `u${randomBytes(8).toString('hex')}`;
}

/** The server that most tests share, on a database of its own. */
export function sharedApi(): Api {
  const url = process.env.TEST_SERVER_URL;
  if (url === undefined) throw new Error('No server: is this run by `npm test`?');
  return new Api(url);
}
