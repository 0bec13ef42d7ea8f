/**
 * Removes from the environment what changes how the database's driver and dates behave: variables of libpq (PGOPTIONS,
 * PGCLIENT_ENCODING, PGSSLMODE, …) and the time zone. The variables of the README alone configure the server.
 */
export function isolateFromShell(): void {
  for (const name of Object.keys(process.env)) {
    if (/^PG[A-Z_]+$/.test(name)) Reflect.deleteProperty(process.env, name);
  }
  process.env.TZ = 'UTC';
}
