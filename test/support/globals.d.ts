/** Set by the global setup for the global teardown, which runs in the same process. */
declare var stopShared: (() => Promise<void>) | undefined;

/** Paths of the server logs of the running test file. */
declare var testLogs: string[] | undefined;

/** Requests of the running test, with the request ids of their responses. */
declare var testRequests: { id: string; line: string }[] | undefined;

/** Connection pools of the running test file. */
declare var testPools: Map<string, { end(): Promise<void> } & Record<string, any>> | undefined;

/** Set by the environment, so that test files in one process share compiled schemas. */
declare var contractOf: (url: string) => Promise<{ operationOf: any; schemas: any }>;
