/** Set by the global setup for the global teardown, which run in the same process. */
declare var stopShared: (() => Promise<void>) | undefined;

/** Paths of the logs of the servers that a file of tests has started. */
declare var testLogs: string[] | undefined;

/** The requests of the test that runs, with the ids that their answers had. */
declare var testRequests: { id: string; line: string }[] | undefined;

/** Connections to databases that a file of tests keeps for a moment. */
declare var testPools: Map<string, { end(): Promise<void> } & Record<string, any>> | undefined;

/** Set by the environment, so that files of tests which run in one process share what is compiled. */
declare var contractOf: (url: string) => Promise<{ operationOf: any; schemas: any }>;
