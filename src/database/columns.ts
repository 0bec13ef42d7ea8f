import { Raw, type EntityMetadata, type FindOperator, type ObjectLiteral, type Repository } from 'typeorm';

/**
 * Returns the select list of an entity, with the names of its properties. Raw statements use it, so that only the entity
 * lists its columns. Leaves out columns with `select: false`.
 */
export function columnsOf({ metadata }: Pick<Repository<ObjectLiteral>, 'metadata'>, alias: string): string {
  return metadata.columns
    .filter((column) => column.isSelect && !column.isVirtual)
    .map(({ query, databaseName, propertyName }) => {
      const value = query ? `(${query(alias)})` : `${alias}.${databaseName}`;
      return `${value} AS "${propertyName}"`;
    })
    .join(', ');
}

/** A column to write, with the type of its values in SQL. */
export interface WrittenColumn {
  property: string;
  column: string;
  type: string;
}

/** Returns the columns that every insert sets: those that are neither keys nor have a default. */
export function writtenColumnsOf({ metadata }: { metadata: EntityMetadata }): WrittenColumn[] {
  return metadata.columns
    .filter(({ isPrimary, default: byDefault }) => !isPrimary && byDefault === undefined)
    .map(({ propertyName, databaseName, type }) => ({
      property: propertyName,
      column: databaseName,
      type: String(type),
    }));
}

/** The condition that a time is in the future, by the clock of the database. */
export function isFuture(): FindOperator<Date> {
  return Raw((column) => `${column} > now()`) as FindOperator<Date>;
}
