/**
 * Returns the statement that moves the last charges of some flows back in time. (Citus allows no `at - interval` in SET.)
 * @param where SQL condition
 * @param interval SQL expression
 */
export function chargedEarlier(where: string, interval: string): string {
  return `
    WITH moved AS MATERIALIZED (
      SELECT owner_id, key_id, meter, at - ${interval} AS at FROM flows WHERE ${where} AND at > '-infinity'
    )
    UPDATE flows f SET at = m.at FROM moved m WHERE f.owner_id = m.owner_id AND f.key_id = m.key_id AND f.meter = m.meter`;
}
