/**
 * Removes libpq variables (PGOPTIONS, PGCLIENT_ENCODING, PGSSLMODE, …) from the environment and sets the time zone to
 * UTC: they change how the database driver and dates behave. Only the variables in docs/configuration.md configure the server.
 */
export function isolateFromShell(): void {
  for (const name of Object.keys(process.env)) {
    if (/^PG[A-Z_]+$/.test(name)) Reflect.deleteProperty(process.env, name);
  }
  process.env.TZ = 'UTC';
}
