/** Set by the global setup for the global teardown, which run in the same process. */
declare var stopShared: (() => Promise<void>) | undefined;
