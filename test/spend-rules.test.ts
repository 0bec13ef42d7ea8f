import type { DataSource, QueryRunner } from 'typeorm';
import { Env } from '../src/config/env.js';
import { connect } from '../src/database/connect.js';
import { Database, type Statement, type Transaction } from '../src/database/database.js';
import { dataSourceOptions } from '../src/database/options.js';
import { PlanLimit } from '../src/platform/plan-limit.entity.js';
import { Plan } from '../src/platform/plan.entity.js';
import { ALL_CALLS, WINDOWS, callsOf } from '../src/quota/meters.js';
import { PlatformQuota } from '../src/quota/platform-quota.entity.js';
import { Flow, NO_KEY } from '../src/quota/flow.entity.js';
import { Gauge } from '../src/quota/gauge.entity.js';
import { QuotaRepository } from '../src/quota/quota.repository.js';
import type { Run, RunVerdict } from '../src/quota/calls/spender.js';
import { SpendsRepository } from '../src/quota/calls/spends.repository.js';
import { User } from '../src/users/user.entity.js';
import { Random } from './support/random.js';
import { createDatabase } from './support/server.js';
import { SpendCases } from './support/spend-cases.js';
import { ALL, SpendModel, windowName, type Fact } from './support/spend-model.js';
import { SEED, seeds, sizesOf } from './support/sizes.js';
import { turnsOf } from './support/turns.js';

/** A clock that tests set; the search path finds it before that of PostgreSQL. */
const CLOCK = [
  `CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
   AS $$ SELECT current_setting('tests.clock')::timestamptz $$`,
  `CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE
   AS $$ SELECT current_setting('tests.clock')::timestamptz $$`,
  `SET search_path = public, pg_catalog`,
];

const at = (moment: number | null): string | null => (moment === null ? null : new Date(moment).toISOString());

const clock = (text: string): Fact => ({ kind: 'clock', moment: Date.parse(`2026-11-30T${text}Z`) });

/** One generated platform in PostgreSQL and in the model, inside a transaction that is rolled back. */
class Twins {
  readonly model = new SpendModel();
  private readonly spends: SpendsRepository;
  private readonly quotas: QuotaRepository;

  constructor(
    private readonly tx: Transaction,
    readonly cases: SpendCases,
    database: Database,
  ) {
    this.spends = new SpendsRepository(database);
    const own = { query: (statement: Statement, values: unknown[]) => database.query(statement, values, tx) };
    this.quotas = new QuotaRepository(
      tx.getRepository(Gauge),
      tx.getRepository(Flow),
      tx.getRepository(PlatformQuota),
      own as unknown as Database,
    );
  }

  async state(fact: Fact): Promise<void> {
    const { model, quotas, tx } = this;
    model.state(fact);
    switch (fact.kind) {
      case 'clock':
        await tx.query(`SELECT set_config('tests.clock', $1, false)`, [at(fact.moment)]);
        break;
      case 'plan':
        await tx.query('INSERT INTO plans (slug, name) VALUES ($1, $1)', [fact.slug]);
        break;
      case 'owner':
        await tx.query(
          `INSERT INTO users (id, username, username_key, password_hash, status, plan) VALUES ($1::uuid, $1::text, $1::text, '', $2, $3)
           ON CONFLICT (id) DO UPDATE SET status = excluded.status, plan = excluded.plan`,
          [fact.id, fact.isActive ? 'active' : 'disabled', fact.plan],
        );
        break;
      case 'key':
        await tx.query(
          `INSERT INTO api_keys (id, owner_id, name, hint, scopes) VALUES ($1, $2, '', '', $3) ON CONFLICT (id) DO NOTHING`,
          [fact.id, fact.ownerId, fact.scopes],
        );
        await tx.query('UPDATE api_key_secrets SET scopes = $2, disabled = $3, expires_at = $4 WHERE key_id = $1', [
          ...[fact.id, fact.scopes, fact.isDisabled, at(fact.expiresAt)],
        ]);
        await quotas.openCalls(tx, fact.ownerId);
        break;
      case 'secret': {
        const key = model.keyOf(fact.hash);
        await tx.query(
          `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled, expires_at, retires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)`,
          [
            ...[Buffer.from(fact.hash, 'hex'), fact.keyId, key?.ownerId, key?.scopes, key?.isDisabled],
            ...[at(key?.expiresAt ?? null), at(fact.retiresAt)],
          ],
        );
        break;
      }
      case 'api':
        await tx.query(
          `INSERT INTO apis (slug, name, answer, upstream) VALUES ($1, '', $2, $3)
           ON CONFLICT (slug) DO UPDATE SET answer = excluded.answer, upstream = excluded.upstream`,
          [fact.slug, fact.answer, fact.upstream],
        );
        break;
      case 'api-gone':
        await tx.query('DELETE FROM apis WHERE slug = $1', [fact.slug]);
        break;
      case 'limit':
        await this.limit(fact);
    }
  }

  private async limit({ scope, holder, meter, window, amount }: Extract<Fact, { kind: 'limit' }>): Promise<void> {
    const { quotas, tx } = this;
    const limit = amount === -1 ? null : amount;
    const isUnset = amount === null;
    if (scope === 'plan') {
      await tx.query(
        `INSERT INTO plan_limits (plan, meter, limits) VALUES ($1, $2, with_limit(NULL, $3, $4))
         ON CONFLICT ON CONSTRAINT plan_limits_pkey DO UPDATE SET limits = with_limit(plan_limits.limits, $3, $4)`,
        [holder, meter, WINDOWS.indexOf(window) + 1, amount],
      );
    } else if (scope === 'platform') {
      await (isUnset ? quotas.unsetOfPlatform(tx, meter, window) : quotas.setOfPlatform(tx, meter, window, limit));
    } else {
      const ownerId = scope === 'user' ? holder : (this.cases.keys.find(({ id }) => id === holder)?.ownerId ?? '');
      const of = { ownerId, ...(scope === 'key' ? { keyId: holder } : {}) };
      await (isUnset ? quotas.unset(tx, of, meter, window) : quotas.set(tx, of, meter, window, limit));
    }
  }

  /** Sends a batch to both. @returns the verdicts of each */
  async spend(runs: readonly Run[]): Promise<{ said: string[]; expected: string[] }> {
    const said = Array<string>(runs.length);
    for (const turn of turnsOf(runs)) {
      const batch = turn.map((place) => runs[place]!);
      const verdicts = await this.spends.spend(batch, this.tx);
      turn.forEach((place, i) => (said[place] = textOf(verdicts[i]!)));
    }
    return { said, expected: this.model.spend(runs).map(textOf) };
  }

  /** Returns the counters and the ledger of both. */
  async contents(): Promise<{ said: string[]; expected: string[] }> {
    const { cases, model } = this;
    const meters = [ALL_CALLS, ...cases.slugs.map(callsOf)];
    const holders = [...cases.owners.map((ownerId) => ({ ownerId, id: NO_KEY })), ...cases.keys];
    const pairs = holders.flatMap((holder) => meters.map((meter) => ({ ...holder, meter })));
    const used = await this.tx.query<{ counts: number[] }[]>(
      `SELECT calls_used(owner_id, key_id, meter, now()) AS counts
       FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS p (owner_id, key_id, meter, place) ORDER BY place`,
      [pairs.map(({ ownerId }) => ownerId), pairs.map(({ id }) => id), pairs.map(({ meter }) => meter)],
    );
    const hours = await this.tx.query<
      { owner_id: string; key_id: string; meter: string; hour: Date; sums: number[] }[]
    >(
      `SELECT owner_id, key_id, meter, hour, ARRAY[sum(granted), sum(denied)]::bigint[] AS sums FROM usage
       GROUP BY owner_id, key_id, meter, hour`,
    );
    const denials = await this.tx.query<{ name: string; denied: number }[]>(
      `SELECT concat_ws(' ', owner_id, key_id, meter) AS name, denied FROM flows
       WHERE key_id <> no_key() AND meter <> 'api:*' AND denied > 0`,
    );
    const platform = await this.quotas.listOfPlatform();
    const counted = (of: string, meter: string, counts: number[] | undefined): string =>
      `${of} used of ${meter}: ${String(counts)}`;
    const expectedOf = (holder: string, meter: string): number[] =>
      WINDOWS.map((window) => model.used(holder, meter, window));
    return {
      said: [
        ...pairs.map(({ ownerId, id, meter }, i) => counted(id === NO_KEY ? ownerId : id, meter, used[i]?.counts)),
        ...platform.map(({ meter, counts }) => counted(ALL, meter, counts)),
        ...hours
          .map(({ owner_id, key_id, meter, hour, sums }) =>
            [owner_id, key_id, meter, windowName('hour', hour.getTime()), ...sums].join(' '),
          )
          .sort(),
        ...denials.map(({ name, denied }) => `${name} denied ${denied}`).sort(),
      ],
      expected: [
        ...pairs.map(({ ownerId, id, meter }) => {
          const holder = id === NO_KEY ? ownerId : id;
          return counted(holder, meter, expectedOf(holder, meter));
        }),
        ...platform.map(({ meter }) => counted(ALL, meter, expectedOf(ALL, meter))),
        ...[...model.ledger].map(([name, { granted, denied }]) => [name, granted, denied].join(' ')).sort(),
        ...denialsOf(model).sort(),
      ],
    };
  }
}

/** The denials of each key and API, summed over the hours of the ledger. */
function denialsOf({ ledger }: SpendModel): string[] {
  const sums = new Map<string, number>();
  for (const [name, { denied }] of ledger) {
    const ofFlow = name.split(' ').slice(0, 3).join(' ');
    sums.set(ofFlow, (sums.get(ofFlow) ?? 0) + denied);
  }
  return [...sums].filter(([, denied]) => denied > 0).map(([name, denied]) => `${name} denied ${denied}`);
}

/** Formats a verdict; limits are sorted, because their order is not specified. */
function textOf({ verdict, ownerId, keyId, granted, limits, answer, upstream, moment }: RunVerdict): string {
  return JSON.stringify({
    ...{ verdict, ownerId, keyId, granted, limits: limits.split(';').sort().join(' '), answer, upstream, moment },
  });
}

function batchOf({ cases, model }: Twins, random: Random): Run[] {
  return Array.from({ length: 1 + random.below(10) }, () => {
    const call = cases.call();
    // For an unknown key: somebody whose key it is not.
    const ownerId = model.keyOf(call.hash)?.ownerId ?? random.pick(cases.owners);
    return { ...call, ownerId, count: random.chance(50) ? 1 : 1 + random.below(12) };
  });
}

const SEEDS = seeds(sizesOf('spendRules').SEEDS);

describe(`spends in PostgreSQL, compared with the model (SEED=${SEED})`, () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let dataSource: DataSource;
  let runner: QueryRunner;
  const env = new Env({});

  beforeAll(async () => {
    database = await createDatabase();
    dataSource = await connect({
      ...dataSourceOptions(env, database.url),
      entities: [User, Plan, PlanLimit, Gauge, Flow, PlatformQuota],
    });
    await dataSource.runMigrations();
    runner = dataSource.createQueryRunner();
    for (const statement of CLOCK) await runner.query(statement);
  });

  afterAll(async () => {
    await runner.release();
    await dataSource.destroy();
    await database.drop();
  });

  async function inTransaction(work: () => Promise<void>): Promise<void> {
    await runner.startTransaction();
    try {
      await runner.query('DELETE FROM apis');
      await work();
    } finally {
      await runner.rollbackTransaction();
    }
  }

  function twinsOf(cases: SpendCases): Twins {
    return new Twins(runner.manager, cases, new Database(dataSource));
  }

  async function expectSame(twins: Twins, runs: readonly Run[]): Promise<void> {
    const { said, expected } = await twins.spend(runs);
    expect(said).toEqual(expected);
    const contents = await twins.contents();
    expect(contents.said).toEqual(contents.expected);
  }

  async function expectSameOf(seed: number): Promise<void> {
    const random = new Random(seed);
    const cases = new SpendCases(random);
    const twins = twinsOf(cases);
    for (const fact of cases.facts) await twins.state(fact);
    for (let batches = 2 + random.below(5); batches > 0; batches--) {
      for (let changes = random.below(4); changes > 0; changes--) await twins.state(cases.change());
      if (random.chance(50)) await twins.state(cases.later());
      await expectSame(twins, batchOf(twins, random));
    }
  }

  /**
   * Compares the verdicts only: the counts of meters without a limit differ from the model after the clock goes back.
   */
  async function expectSameWhenTheClockGoesBack(seed: number): Promise<void> {
    const random = new Random(seed);
    const cases = new SpendCases(random);
    const twins = twinsOf(cases);
    for (const fact of cases.facts) await twins.state(fact);
    for (let batches = 3 + random.below(5); batches > 0; batches--) {
      await twins.state(random.chance(60) ? cases.later() : cases.earlier());
      const { said, expected } = await twins.spend(batchOf(twins, random));
      expect(said).toEqual(expected);
    }
  }

  /** Runs each seed in its own transaction. The error names the first seed that fails. */
  async function expectOfSeeds(work: (seed: number) => Promise<void>): Promise<void> {
    for (const seed of SEEDS) {
      await inTransaction(() => work(seed)).catch((error: unknown) => {
        throw new Error(`SEED=${seed} ${(error as Error).message}`);
      });
    }
  }

  test('random spends: same verdicts, counters and ledger', async () => {
    await expectOfSeeds(expectSameOf);
  });

  test('clock set back: same verdicts', async () => {
    await expectOfSeeds(expectSameWhenTheClockGoesBack);
  });

  test.each(['key', 'user', 'platform'] as const)(
    'first limit of a %s set after the clock was set back: includes usage of the later window',
    async (scope) => {
      await inTransaction(async () => {
        const { twins, keyId, ownerId, run } = await oneKey();
        await twins.state(clock('12:01:30'));
        await expectSame(twins, [run(10)]);
        await twins.state(clock('12:00:50'));
        const holder = { key: keyId, user: ownerId, platform: '' }[scope];
        await twins.state({ kind: 'limit', scope, holder, meter: ALL_CALLS, window: 'minute', amount: 10 });
        await expectSame(twins, [run(1)]);
        await twins.state(clock('12:01:40'));
        await expectSame(twins, [run(1)]);
      });
    },
  );

  test('clock set back after the first platform limit was set: usage counts in the window of that moment', async () => {
    await inTransaction(async () => {
      const { twins, run } = await oneKey();
      await twins.state(clock('12:01:30'));
      await twins.state({
        kind: 'limit',
        scope: 'platform',
        holder: '',
        meter: ALL_CALLS,
        window: 'minute',
        amount: 10,
      });
      await twins.state(clock('12:00:50'));
      await expectSame(twins, [run(10)]);
      await twins.state(clock('12:01:40'));
      await expectSame(twins, [run(1)]);
      await twins.state(clock('12:02:00'));
      await expectSame(twins, [run(1)]);
    });
  });

  test('counters near the largest exact integer: same verdicts and counts', async () => {
    await inTransaction(async () => {
      const { twins, run } = await oneKey();
      await expectSame(twins, [run(Number.MAX_SAFE_INTEGER - 5), run(3, 4), run(2), run(1)]);
      await expectSame(twins, [run(Number.MAX_SAFE_INTEGER), run(1, 2)]);
    });
  });

  async function oneKey(): Promise<{
    twins: Twins;
    keyId: string;
    ownerId: string;
    run: (cost: number, count?: number) => Run;
  }> {
    const cases = new SpendCases(new Random(1), true);
    const twins = twinsOf(cases);
    for (const fact of cases.facts) if (fact.kind !== 'limit') await twins.state(fact);
    const [hash, key, slug] = [cases.hashes[0] ?? '', cases.keys[0], cases.slugs[0] ?? ''];
    const ownerId = key?.ownerId ?? '';
    const run = (cost: number, count = 1): Run => ({ hash, ownerId, slug, cost, dryRun: false, count });
    return { twins, keyId: key?.id ?? '', ownerId, run };
  }
});
