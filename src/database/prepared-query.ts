import pg, { type ClientBase, type QueryResult, type QueryResultRow, type Submittable } from 'pg';
import { hasCitus } from './session.js';

/** A statement with its values. */
export interface PreparedStatement {
  name: string;
  text: string;
  values: unknown[];
}

/**
 * Settings for planning a prepared statement, in effect until its transaction ends.
 *
 * PostgreSQL plans it once for all values and keeps the plan, which was made for the size of the tables at that time.
 * A plan from when a table was small would scan the whole table until the next ANALYZE. Left to itself, PostgreSQL
 * plans statements over `unnest` again at each execution, which takes longer than their execution.
 */
const INDEX_SCANS = { enable_seqscan: 'off', enable_bitmapscan: 'off' };

const PLAN = planning({ plan_cache_mode: 'force_generic_plan', ...INDEX_SCANS });

/** Citus chooses the node by the values. With a generic plan, it runs no function there, and rejects joins. */
const PLAN_ON_CITUS = planning(INDEX_SCANS);

/** Both have the same name: a connection needs one of them. */
function planning(settings: Record<string, string>): { name: string; text: string } {
  const set = Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', true)`);
  return { name: 'planning', text: `SELECT ${set.join(', ')}` };
}

/** The parts of pg's Query and Connection (pg 8.23) that this file uses. */
interface Connection {
  parsedStatements: Partial<Record<string, string>>;
  bind(portal: { statement: string }): void;
  execute(portal: object): void;
}

interface BaseQuery {
  prepare(connection: Connection): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
}

const BaseQuery = pg.Query as unknown as new (
  statement: PreparedStatement,
  values: undefined,
  callback: (error: Error | null, result: QueryResult) => void,
) => BaseQuery;

/**
 * Sends PLAN and a prepared statement in one round trip. The connection must have prepared PLAN before. Outside a
 * transaction block, PostgreSQL treats both as one transaction, because there is no Sync message between them.
 */
class PreparedQuery extends BaseQuery implements PromiseLike<QueryResult> {
  private isPlanning = false;
  private readonly done: Promise<QueryResult>;

  constructor(statement: PreparedStatement) {
    const { promise, resolve, reject } = withResolvers<QueryResult>();
    super(statement, undefined, (error, result) => {
      if (error) reject(error);
      else resolve(result);
    });
    this.done = promise;
  }

  /** A wrapper of `client.query` awaits its result. */
  then<T = QueryResult, E = never>(
    onDone?: ((result: QueryResult) => T | PromiseLike<T>) | null,
    onError?: ((error: unknown) => E | PromiseLike<E>) | null,
  ): Promise<T | E> {
    return this.done.then(onDone, onError);
  }

  override prepare(connection: Connection): void {
    this.isPlanning = true;
    connection.bind({ statement: PLAN.name });
    connection.execute({});
    super.prepare(connection);
  }

  override handleDataRow(message: unknown): void {
    if (!this.isPlanning) super.handleDataRow(message);
  }

  override handleCommandComplete(message: unknown, connection: Connection): void {
    if (this.isPlanning) this.isPlanning = false;
    else super.handleCommandComplete(message, connection);
  }
}

/** Runs a prepared statement with an index plan that fits all values. */
export async function queryPrepared<Row extends QueryResultRow>(
  client: ClientBase,
  statement: PreparedStatement,
): Promise<QueryResult<Row>> {
  const { parsedStatements } = (client as ClientBase & { connection: Connection }).connection;
  // In a round trip of its own: pg takes the first ParseComplete of a query for that of its own statement.
  if (parsedStatements[PLAN.name] === undefined) await client.query(hasCitus(client) ? PLAN_ON_CITUS : PLAN);
  // The declared type of a custom query does not include its result.
  const sent = client.query(new PreparedQuery(statement) as unknown as Submittable);
  return (await (sent as unknown as PromiseLike<QueryResult>)) as QueryResult<Row>;
}

function withResolvers<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onDone, onError) => {
    resolve = onDone;
    reject = onError;
  });
  return { promise, resolve, reject };
}
