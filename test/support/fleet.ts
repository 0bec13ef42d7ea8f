import { Api, uniqueName, type Answer } from './api.js';
import { write, type Reply } from './load.js';
import { TestServer, createDatabase, query, type ServerProcess } from './server.js';

export interface Key {
  id: string;
  key: string;
  owner: string;
}

/** Sums of the ledger: units granted and requests denied. */
export interface Ledger {
  granted: number;
  denied: number;
}

/** Positions in the array `quotas.counts`. */
const PLACES = { lifetime: 1, minute: 2, hour: 3, day: 4, month: 5 };

export type Period = keyof typeof PLACES;

/** Several servers on one database, each in its own process. */
export class Fleet<S extends TestServer = TestServer> {
  private constructor(
    readonly url: string,
    readonly servers: S[],
    /** Clients of each server with the session of the administrator. */
    readonly admins: Api[],
    private readonly drop: () => Promise<void>,
  ) {}

  /** @param url the address of an existing database; by default a new one is created */
  static start(count: number, url?: string, env: Record<string, string> = {}): Promise<Fleet> {
    return Fleet.run(count, url, (variables) => TestServer.start({ ...variables, ...env }));
  }

  /** Starts servers in processes that tests can kill. */
  static spawn(count: number, url?: string, env: Record<string, string> = {}): Promise<Fleet<ServerProcess>> {
    return Fleet.run(count, url, (variables) => TestServer.spawn({ ...variables, ...env }));
  }

  private static async run<S extends TestServer>(
    count: number,
    url: string | undefined,
    start: (env: Record<string, string>) => Promise<S>,
  ): Promise<Fleet<S>> {
    const database = url === undefined ? await createDatabase() : { url, drop: () => Promise.resolve() };
    const servers = await Promise.all(Array.from({ length: count }, () => start({ DATABASE_URL: database.url })));
    const { token } = await new Api(servers[0]!.url).admin();
    const admins = servers.map((server) => new Api(server.url, token));
    return new Fleet(database.url, servers, admins, database.drop);
  }

  /** Stops all servers. @returns their exit codes */
  async stop(): Promise<(number | null)[]> {
    const codes = await Promise.all(this.servers.map((server) => server.stop()));
    await this.drop();
    return codes;
  }

  /** Returns the administrator client of a server, in rotation. */
  admin(turn = 0): Api {
    return this.admins[turn % this.admins.length]!;
  }

  query(sql: string, values?: unknown[]): Promise<any[]> {
    return query(this.url, sql, values);
  }

  /** Creates an account without signing it in. @returns its id */
  async makeUser(fields: { plan?: string } = {}): Promise<string> {
    return (await this.post('/v1/users', { username: uniqueName(), password: 'Unguessable-7', ...fields })).id;
  }

  async makeKey(owner: string, fields: object = {}): Promise<Key> {
    return this.post('/v1/keys', { name: 'a key', scopes: ['*'], owner, ...fields });
  }

  /** Creates a plan. @returns its slug */
  async makePlan(limits: object[]): Promise<string> {
    return (await this.post('/v1/plans', { slug: uniqueName(), name: 'A plan', limits })).slug;
  }

  async setQuota(owner: string, meter: string, limit: number | null, window: Period = 'lifetime'): Promise<void> {
    expectDone(await this.admin().put(`/v1/users/${owner}/quotas/${meter}`, { limit, window }));
  }

  /** Returns the sums of the ledger for some owners. */
  async ledger(...owners: string[]): Promise<Ledger> {
    const [row] = await this.query(
      `SELECT coalesce(sum(granted), 0)::int AS granted, coalesce(sum(denied), 0)::int AS denied
       FROM usage WHERE owner_id = ANY($1)`,
      [owners],
    );
    return row;
  }

  /** Reads a counter of an owner or of one of its keys from the table. */
  async counter(owner: string, meter: string, period: Period = 'lifetime', key?: Key): Promise<number | undefined> {
    const [row] = await this.query(
      `SELECT counts[$4]::int AS count FROM flows
       WHERE owner_id = $1 AND meter = $2 AND key_id = coalesce($3, '00000000-0000-0000-0000-000000000000'::uuid)
       UNION ALL SELECT used::int FROM gauges WHERE owner_id = $1 AND meter = $2`,
      [owner, meter, key?.id ?? null, PLACES[period]],
    );
    return row?.count;
  }

  /**
   * Changes the length of windows in this database to some seconds. Windows that are not named never end, so that no
   * test depends on the time of day.
   */
  async setWindows(seconds: Partial<Record<Period, number>>): Promise<void> {
    const cases = Object.entries(seconds).map(
      ([period, length]) =>
        `WHEN '${period}' THEN date_bin('${String(length)} s', moment, TIMESTAMPTZ '2000-01-01 00:00Z')`,
    );
    await this.query(`
      CREATE OR REPLACE FUNCTION window_start(period text, moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT CASE period WHEN 'lifetime' THEN '-infinity'::timestamptz ${cases.join(' ')}
          ELSE TIMESTAMPTZ '2000-01-01 00:00Z' END
      $$`);
  }

  private async post(path: string, body: object): Promise<any> {
    return expectDone(await this.admin().post(path, body)).body;
  }
}

/** Throws if a request failed that a test requires. */
export function expectDone(answer: Answer): Answer {
  if (answer.status >= 300) throw new Error(`Answered ${String(answer.status)}: ${answer.text}`);
  return answer;
}

/** Formats a call with a key. */
export function call({ key }: { key: string }, slug = 'api1', headers: Record<string, string> = {}): string {
  return write('POST', `/call/${slug}`, { 'x-api-key': key, ...headers });
}

/** Formats a verification with a key and a cost. */
export function verify(
  { key }: { key: string },
  cost: number,
  api = 'api1',
  headers: Record<string, string> = {},
): string {
  return write('POST', '/v1/verify', headers, { key, api, cost });
}

/** Returns `ok`, a problem code, or `lost` for a connection that ended early. */
export function outcomeOf(reply: Reply): string {
  if (reply.status === 0) return 'lost';
  if (!reply.text.startsWith('{')) return reply.status === 200 ? 'ok' : String(reply.status);
  return JSON.parse(reply.text).code;
}

/** Counts equal outcomes. */
export function tally(outcomes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}
