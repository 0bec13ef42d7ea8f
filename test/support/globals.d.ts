/** Set by the global setup for the global teardown, which run in the same process. */
declare var stopShared: (() => Promise<void>) | undefined;

/** Paths of the logs of the servers that a file of tests has started. */
declare var testLogs: string[] | undefined;

/** The requests of the test that runs, with the ids that their answers had. */
declare var testRequests: { id: string; line: string }[] | undefined;

/** Set by the environment, so that files of tests which run in one process share what is compiled. */
declare var contractOf: (url: string) => Promise<{ operationOf: any; schemas: any }>;
