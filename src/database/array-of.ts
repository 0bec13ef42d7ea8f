/**
 * Writes an array as PostgreSQL reads it. Elements are not escaped: numbers, booleans, and texts that need no escape. The
 * driver's own serialization takes ten times as long.
 */
export function arrayOf(elements: readonly (string | number | boolean | null)[]): string {
  return `{${elements.map((element) => element ?? 'NULL').join(',')}}`;
}
