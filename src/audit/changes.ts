/** What a change did to the fields of its target. A secret's change is told, never its value: `{}`. */
export type Changes = Record<string, { from?: unknown; to?: unknown }>;

/**
 * The fields that differ. Of what was made (`before` null) or deleted (`after` null), all that are not null.
 * @param fields those that may be told
 */
export function changesOf<T extends object>(
  before: T | null,
  after: T | null,
  fields: readonly (keyof T & string)[],
): Changes {
  const changes: Changes = {};
  for (const field of fields) {
    const [from, to] = [before?.[field] ?? null, after?.[field] ?? null];
    if (JSON.stringify(from) === JSON.stringify(to)) continue;
    changes[field] = { ...(before ? { from: brief(from) } : {}), ...(after ? { to: brief(to) } : {}) };
  }
  return changes;
}

const MAX_LENGTH = 1_000;

/** The log tells what was changed; it is no place to keep long texts in. */
function brief(value: unknown): unknown {
  return typeof value === 'string' && value.length > MAX_LENGTH
    ? `${value.slice(0, MAX_LENGTH).toWellFormed()}…`
    : value;
}
