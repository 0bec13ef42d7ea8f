import type { Statement } from '../database/database.js';

/** A function that claims expired grants under an advisory lock. */
export const SWEEP_GRANTS: Statement = { name: 'credit-grants-sweep', text: 'SELECT sweep_grants($1) AS count' };
