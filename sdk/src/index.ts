export { Quartermaster } from './client.js';
export type { CallOptions, ItemOf, ListPath, QuartermasterOptions, Verdict, VerifyRequest } from './client.js';
export { ConnectionError, QuartermasterError, isRefusal } from './errors.js';
export type { Limit, Problem, ProblemCode } from './errors.js';
export type { components, paths } from './schema.js';
export type { SigningKey } from './signing.js';
