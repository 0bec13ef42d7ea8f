import type { DataSource } from 'typeorm';
import { Env } from '../src/config/env.js';
import { connect } from '../src/database/connect.js';
import { Database } from '../src/database/database.js';
import { dataSourceOptions } from '../src/database/options.js';
import { PlanLimit } from '../src/platform/plan-limit.entity.js';
import { Plan } from '../src/platform/plan.entity.js';
import { WINDOWS } from '../src/quota/meters.js';
import { parseLimits } from '../src/quota/judged-limits.js';
import { PlatformQuota } from '../src/quota/platform-quota.entity.js';
import { Flow } from '../src/quota/flow.entity.js';
import { Gauge } from '../src/quota/gauge.entity.js';
import { QuotaRepository } from '../src/quota/quota.repository.js';
import type { OnConflict } from '../src/store/store-body.js';
import { StoreRepository, type WriteRequest, type WriteVerdict } from '../src/store/store.repository.js';
import { User } from '../src/users/user.entity.js';
import { Random } from './support/random.js';
import { createDatabase } from './support/server.js';
import { StoreCases, StoreModel, type Amounts, type ModelVerdict } from './support/store-model.js';
import { seeds, sizesOf } from './support/sizes.js';
import { turnsOf } from './support/turns.js';

/**
 * Requests that one statement executes have the same effect as sequential requests in an order that the database
 * chooses. `SEED=17` repeats one history.
 */
const { SEEDS, STEPS } = sizesOf('storeRules');

const GAUGES = ['entries', 'bytes'] as const;
const METERS = GAUGES.map((gauge) => `store.${gauge}`);

/** Selects counters that differ from the rows. */
const MISCOUNTED = `
  WITH sizes AS MATERIALIZED (
    SELECT owner_id, octet_length(key) + octet_length(value) AS size FROM store_entries
  ), there AS (
    SELECT owner_id, count(*) AS entries, sum(size) AS bytes FROM sizes GROUP BY GROUPING SETS (owner_id, ())
  ), counted AS (
    SELECT owner_id, meter, used AS counted FROM gauges WHERE meter LIKE 'store.%'
    UNION ALL SELECT NULL, meter, counts[1] FROM platform_quotas
  )
  SELECT c.*, t.entries, t.bytes FROM counted c LEFT JOIN there t ON t.owner_id IS NOT DISTINCT FROM c.owner_id
  WHERE counted <> coalesce(CASE meter WHEN 'store.entries' THEN t.entries ELSE t.bytes END, 0)`;

interface Said {
  said: unknown[];
  expected: unknown[];
}

const env = new Env({});
let database: Awaited<ReturnType<typeof createDatabase>>;
let dataSource: DataSource;
let db: Database;

beforeAll(async () => {
  database = await createDatabase();
  dataSource = await connect({
    ...dataSourceOptions(env, database.url),
    entities: [User, Plan, PlanLimit, Gauge, Flow, PlatformQuota],
  });
  await dataSource.runMigrations();
  db = new Database(dataSource);
});

afterAll(async () => {
  await dataSource.destroy();
  await database.drop();
});

/** The stores of one seed, in PostgreSQL and in the model. */
class Twins {
  readonly model = new StoreModel();
  readonly cases: StoreCases;
  /**
   * A repository of its own, as in a separate process: requests of one event-loop turn are coalesced into one
   * statement.
   */
  private readonly store = new StoreRepository(db);
  private readonly quotas = new QuotaRepository(
    dataSource.getRepository(Gauge),
    dataSource.getRepository(Flow),
    dataSource.getRepository(PlatformQuota),
    db,
  );
  /** The meters with limits. With limits on one meter only, tests cover denials by that meter alone. */
  private readonly limited: readonly (keyof Amounts)[];

  constructor(
    private readonly random: Random,
    readonly owners: readonly string[],
  ) {
    this.cases = new StoreCases(random, this.model, owners);
    this.limited = random.pick([['entries'], ['bytes'], GAUGES]);
  }

  static async of(seed: number): Promise<Twins> {
    const random = new Random(seed);
    const owners = Array.from({ length: 1 + random.below(3) }, () => random.uuid());
    await dataSource.query('DELETE FROM users');
    await dataSource.query('DELETE FROM platform_quotas');
    await dataSource.query('DELETE FROM plans WHERE slug = ANY($1)', [owners]);
    for (const owner of owners) {
      await dataSource.query(`INSERT INTO plans (slug, name) VALUES ($1, '')`, [owner]);
      await dataSource.query(
        `INSERT INTO users (id, username, username_key, password_hash, plan) VALUES ($1::uuid, $1::text, $1::text, '', $1::text)`,
        [owner],
      );
    }
    return new Twins(random, owners);
  }

  /** Runs a random operation. @returns the result and the expected result */
  async step(): Promise<Said> {
    const { random } = this;
    const kind = random.below(100);
    if (kind < 55) return this.write();
    if (kind < 65) return this.delete();
    if (kind < 73) await this.expire();
    else if (kind < 77) await this.store.sweep(1 + random.below(5));
    else await this.limit();
    return { said: [], expected: [] };
  }

  private async write(): Promise<Said> {
    const { cases, model, random, store } = this;
    const requests = Array.from({ length: 1 + random.below(random.pick([1, 2, 8])) }, () => {
      const request = cases.write();
      const [entry, ...others] = request.entries;
      // -1 is the value for `If-Match: *`.
      if (entry && others.length === 0 && random.chance(20)) entry.ifVersion = -1;
      return request;
    });
    const said = Array<WriteVerdict | null>(requests.length);
    for (const turn of turnsOf(requests)) {
      await Promise.all(turn.map(async (place) => (said[place] = await store.write(requests[place]!))));
    }
    const expected = Array<ModelVerdict | undefined>(requests.length);
    for (const place of orderOf(requests)) expected[place] = model.write(requests[place]!, said[place]!.versions);
    requests.forEach(({ ownerId }, place) => model.settle(ownerId, said[place]!.versions));
    // Versions are unique for each owner and rise in the order of the requests.
    const versions = this.owners.map((owner) =>
      said.flatMap((verdict, i) =>
        requests[i]!.ownerId === owner
          ? verdict!.versions.filter((_version, j) => 'nw'.includes(verdict!.verdicts[j]!))
          : [],
      ),
    );
    return {
      said: [versions, ...said.map((verdict) => toModelVerdict(verdict!))],
      expected: [
        versions.map((each) => [...new Set(each)].sort((a, b) => Number(a) - Number(b))),
        ...expected.map((each) => each!),
      ],
    };
  }

  private async delete(): Promise<Said> {
    const { cases, model, random, store } = this;
    const requests = Array.from({ length: 1 + random.below(5) }, () => cases.delete());
    const said = await Promise.all(requests.map((request) => store.delete(request)));
    return { said, expected: model.delete(requests) };
  }

  private async expire(): Promise<void> {
    const ownerId = this.random.pick(this.owners);
    const keys = this.cases.someKeys(4);
    await dataSource.query(
      `UPDATE store_entries SET expires_at = now() - interval '1 ms' WHERE owner_id = $1 AND key = ANY($2)`,
      [ownerId, keys],
    );
    for (const key of keys) this.model.of(ownerId).entries.delete(key);
  }

  private async limit(): Promise<void> {
    const { cases, model, random } = this;
    const gauge = random.pick(this.limited);
    const meter = `store.${gauge}`;
    const scope = random.pick(['user', 'plan', 'platform'] as const);
    const ownerId = random.pick(this.owners);
    const store = model.of(ownerId);
    const limit = random.chance(20)
      ? undefined
      : cases.limit(gauge, (scope === 'platform' ? model : store).used[gauge]);
    if (scope === 'plan') {
      await dataSource.query(
        `INSERT INTO plan_limits (plan, meter, limits) VALUES ($1, $2, with_limit(NULL, $3, $4))
         ON CONFLICT ON CONSTRAINT plan_limits_pkey DO UPDATE SET limits = excluded.limits`,
        [ownerId, meter, WINDOWS.indexOf('lifetime') + 1, limit === undefined ? null : (limit ?? -1)],
      );
      store.plan = { ...store.plan, [gauge]: limit };
    } else if (scope === 'user') {
      await db.transaction((tx) =>
        limit === undefined
          ? this.quotas.unset(tx, { ownerId }, meter, 'lifetime')
          : this.quotas.set(tx, { ownerId }, meter, 'lifetime', limit),
      );
      store.own = { ...store.own, [gauge]: limit };
    } else {
      await db.transaction((tx) =>
        limit === undefined
          ? this.quotas.unsetOfPlatform(tx, meter, 'lifetime')
          : this.quotas.setOfPlatform(tx, meter, 'lifetime', limit),
      );
      model.platform = { ...model.platform, [gauge]: limit };
    }
  }

  /** Returns the entries, the usage, and the counters that differ from the rows. */
  async contents(): Promise<Said> {
    const { model, owners } = this;
    const rows = await dataSource.query<object[]>(
      `SELECT owner_id AS owner, key, value, version FROM store_entries
       WHERE expires_at IS NULL OR expires_at > now() ORDER BY owner_id, key`,
    );
    const entries = [...owners]
      .sort()
      .flatMap((owner) =>
        [...model.of(owner).entries]
          .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
          .map(([key, { value, version }]) => ({ owner, key, value, version })),
      );
    const used: unknown[] = [];
    for (const owner of owners) used.push(amountsOf(await this.quotas.list(owner, METERS)));
    return {
      said: [rows, used, amountsOf(await this.quotas.listOfPlatform()), await dataSource.query(MISCOUNTED)],
      expected: [
        entries,
        owners.map((owner) => model.of(owner).used),
        Object.fromEntries(
          GAUGES.flatMap((gauge) => (model.platform[gauge] === undefined ? [] : [[gauge, model.used[gauge]]])),
        ),
        [],
      ],
    };
  }
}

/**
 * Returns the order in which the database judges requests: owner by owner; of an owner, a request comes after an earlier
 * one that writes the same key.
 */
function orderOf(requests: readonly WriteRequest[]): number[] {
  const latest = new Map<string, number>();
  const turns = requests.map(({ ownerId, entries }, place) => {
    const names = entries.map(({ key }) => `${ownerId} ${key}`);
    const wave = 1 + Math.max(...names.map((name) => latest.get(name) ?? 0));
    for (const name of names) latest.set(name, wave);
    return { place, wave, ownerId };
  });
  turns.sort(
    (a, b) => (a.ownerId < b.ownerId ? -1 : a.ownerId > b.ownerId ? 1 : 0) || a.wave - b.wave || a.place - b.place,
  );
  return turns.map(({ place }) => place);
}

function amountsOf(rows: readonly { meter: string; counts: number[] }[]): Partial<Amounts> {
  const ofStore = rows.filter(({ meter }) => METERS.includes(meter));
  return Object.fromEntries(ofStore.map(({ meter, counts }) => [meter.replace('store.', ''), counts[0]]));
}

function toModelVerdict({ verdicts, versions, denial }: WriteVerdict): ModelVerdict {
  const held = (text: string) => parseLimits(text, '').map(({ scope, limit, used }) => ({ scope, limit, used }));
  return {
    ...{ verdicts, versions },
    denial: denial && {
      cost: { entries: denial.entryCost, bytes: denial.byteCost },
      limits: { entries: held(denial.entryLimits), bytes: held(denial.byteLimits) },
    },
  };
}

test.each(seeds(SEEDS))(
  'random histories: results and counters match the model (SEED=%d)',
  async (seed) => {
    const twins = await Twins.of(seed);
    for (let step = 1; step <= STEPS; step++) {
      const { said, expected } = await twins.step();
      expect({ step, said }).toEqual({ step, said: expected });
      const contents = await twins.contents();
      expect({ step, said: contents.said }).toEqual({ step, said: contents.expected });
    }
  },
  600_000,
);

test('requests of one statement that write the same new keys: each key is created once', async () => {
  const [ownerId = ''] = (await Twins.of(1)).owners;
  const store = new StoreRepository(db);
  const write = async (onConflict: OnConflict, ...keys: string[]): Promise<string | undefined> => {
    const entries = keys.map((key) => ({ key, value: Buffer.from('1'), ttlSeconds: null, ifVersion: null }));
    return (await store.write({ ownerId, onConflict, atomic: false, entries }))?.verdicts.join('');
  };
  const said = [write('skip', 'a', 'b'), write('skip', 'b', 'c'), write('fail', 'c'), write('skip', 'd')];
  expect(await Promise.all(said)).toEqual(['nn', 'sn', 'm', 'n']);
  expect(await Promise.all([write('skip', 'e'), write('fail', 'f', 'g')])).toEqual(['n', 'nn']);
  expect(await dataSource.query(MISCOUNTED)).toEqual([]);
});
