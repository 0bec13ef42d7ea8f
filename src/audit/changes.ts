/** What a change did to the fields of its target. For a secret, only the fact of the change is recorded: `{}`. */
export type Changes = Record<string, { from?: unknown; to?: unknown }>;

/**
 * Returns the fields that differ. For a created (`before` null) or deleted (`after` null) target, returns all fields
 * that are not null.
 * @param fields the fields that may be recorded
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

/** Whether a change gives a field another value. Fields that are undefined in `changes` stay as they are. */
export function differs<T extends object>(before: T, changes: { [field in keyof T]?: T[field] | undefined }): boolean {
  return (Object.keys(changes) as (keyof T)[]).some(
    (field) => changes[field] !== undefined && JSON.stringify(changes[field]) !== JSON.stringify(before[field]),
  );
}

const MAX_LENGTH = 1_000;

/** Shortens long texts: the log records what was changed, and does not archive long values. */
function brief(value: unknown): unknown {
  return typeof value === 'string' && value.length > MAX_LENGTH
    ? `${value.slice(0, MAX_LENGTH).toWellFormed()}…`
    : value;
}
