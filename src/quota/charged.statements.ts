import type { ObjectLiteral, Repository } from 'typeorm';
import { tally } from '../common/tally.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { columnsOf, writtenColumnsOf } from '../database/columns.js';
import type { Database, Statement, Transaction } from '../database/database.js';

/** Fields of every object that is charged to a gauge of its owner. */
export interface Owned extends ObjectLiteral {
  /** UUIDv7, so ids sort by creation time. */
  id: string;
  ownerId: string;
}

/** Key of an object. `ownerId` null matches any owner (for administrators). */
export interface ObjectKey {
  ownerId: string | null;
  id: string;
}

export interface VerdictRow {
  /** Null if the owner no longer exists. */
  granted: boolean | null;
  limits: string;
  createdAt: Date | null;
}

/**
 * Statements for a table whose objects each use one unit of a gauge with the name of the table. Single reads and inserts
 * are coalesced. The statement that inserts an object also charges it, and the statement that deletes it also gives the
 * unit back.
 */
export class ChargedStatements<Row extends Owned> {
  private readonly found: Coalescer<Pick<Owned, 'id' | 'ownerId'>, Row | null>;
  private readonly foundAnywhere: Coalescer<string, Row | null>;
  private readonly inserted: Coalescer<Owned, VerdictRow>;
  private readonly statements: ReturnType<typeof statementsOf>;
  private readonly table: 'resources' | 'tasks';

  constructor(
    private readonly database: Database,
    private readonly objects: Pick<Repository<Row>, 'metadata'>,
  ) {
    this.table = objects.metadata.tableName as 'resources' | 'tasks';
    this.statements = statementsOf(objects);
    const { find, findAny } = this.statements;
    this.found = new Coalescer(
      (keys) => this.findAll(find, [keys.map((key) => key.ownerId), keys.map((key) => key.id)], keys.length),
      { name: `${this.table}_read`, key: ({ ownerId, id }) => ownerId + id, readOnly: true },
    );
    this.foundAnywhere = new Coalescer((ids) => this.findAll(findAny, [ids], ids.length), {
      name: `${this.table}_read_any`,
      key: (id) => id,
      readOnly: true,
    });
    this.inserted = new Coalescer((batch) => this.chargeAndInsertAll(batch), { name: `${this.table}_create` });
  }

  find({ ownerId, id }: ObjectKey): Promise<Row | null> {
    return ownerId === null ? this.foundAnywhere.add(id) : this.found.add({ ownerId, id });
  }

  /** @param tx the caller's transaction; without one, the insert is coalesced with concurrent ones */
  async chargeAndInsert(object: Owned, tx?: Transaction): Promise<VerdictRow> {
    const row = tx ? (await this.chargeAndInsertAll([object], tx))[0] : await this.inserted.add(object);
    if (!row) throw new Error('The database returned no verdict for an insert');
    return row;
  }

  /** Deletes an object and gives back its unit. @returns whether the object existed */
  async deleteAndRelease({ ownerId, id }: ObjectKey, tx?: Transaction): Promise<boolean> {
    return (await this.database.query(this.statements.deleteAndRelease, [ownerId, id], tx)).length > 0;
  }

  /** Locks the gauge of the object's owner until the transaction ends. */
  async lockGauge(tx: Transaction, { ownerId, id }: ObjectKey): Promise<void> {
    await this.database.query(this.statements.lockGauge, [ownerId, id], tx);
  }

  private async findAll(statement: Statement, values: unknown[], count: number): Promise<(Row | null)[]> {
    return inPlace(await this.database.query<Row & { place: number }>(statement, values), count);
  }

  private async chargeAndInsertAll(batch: readonly Owned[], tx?: Transaction): Promise<VerdictRow[]> {
    const values = [
      batch.map((object) => object.ownerId),
      batch.map((object) => object.id),
      ...writtenColumnsOf(this.objects).map(({ property }) => batch.map((object): unknown => object[property])),
    ];
    const rows = await this.database.query<VerdictRow>(this.statements.chargeAndInsert, values, tx);
    const granted = rows.filter((row) => row.createdAt).length;
    tally.count(this.table, granted, rows.length - granted);
    return rows;
  }
}

function statementsOf(objects: Pick<Repository<Owned>, 'metadata'>) {
  const table = objects.metadata.tableName;
  const written = writtenColumnsOf(objects);
  const names = written.map(({ column }) => column);
  const parameters = written.map(({ type }, i) => `$${i + 3}::${type}[]`);
  const lockGauge = `
    SELECT g.owner_id FROM gauges g
    WHERE g.meter = '${table}' AND g.owner_id = (
      SELECT owner_id FROM ${table} WHERE id = $2 AND owner_id = coalesce($1, owner_id))
    FOR UPDATE`;
  return {
    lockGauge: { text: lockGauge },
    find: {
      name: `${table}-find`,
      text: `
        SELECT q.place::integer AS place, ${columnsOf(objects, 't')}
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q (owner_id, id, place)
        JOIN ${table} t ON t.owner_id = q.owner_id AND t.id = q.id`,
    },
    findAny: {
      name: `${table}-find-any`,
      text: `
        SELECT q.place::integer AS place, ${columnsOf(objects, 't')}
        FROM unnest($1::uuid[]) WITH ORDINALITY AS q (id, place) JOIN ${table} t ON t.id = q.id`,
    },
    // Charges and inserts a batch in one statement: only granted objects are inserted, and only they are charged.
    chargeAndInsert: {
      name: `${table}-charge-and-insert`,
      text: `
        WITH judged AS MATERIALIZED (
          SELECT * FROM charge_gauge('${table}', $1, array_fill(1::bigint, ARRAY[cardinality($1::uuid[])]))
        ), inserted AS (
          INSERT INTO ${table} (owner_id, id, ${names.join(', ')})
          SELECT q.owner_id, q.id, ${names.map((name) => `q.${name}`).join(', ')}
          FROM unnest($1::uuid[], $2::uuid[], ${parameters.join(', ')}) WITH ORDINALITY
            AS q (owner_id, id, ${names.join(', ')}, place)
          JOIN judged j ON j.place = q.place AND j.granted
          RETURNING id, created_at
        )
        SELECT j.granted, j.limits, i.created_at AS "createdAt"
        FROM judged j LEFT JOIN inserted i ON i.id = ($2::uuid[])[j.place]
        ORDER BY j.place`,
    },
    // Gives the unit back only if a row was deleted, so that of two concurrent deletes only one does. Locks the gauge
    // first, like inserts and the deletion of a user.
    deleteAndRelease: {
      name: `${table}-delete-and-release`,
      text: `
        WITH locked AS MATERIALIZED (${lockGauge}
        ), gone AS (
          DELETE FROM ${table} t USING locked WHERE t.owner_id = locked.owner_id AND t.id = $2 RETURNING t.owner_id
        )
        SELECT release_gauge('${table}', gone.owner_id, 1) FROM gone`,
    },
  };
}
