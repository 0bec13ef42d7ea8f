import { isDatabaseUnavailable, violatedConstraint } from './database-error.js';

test.each([
  ['the name from the driver', { code: '23505', constraint: 'users_email_key_unique' }, 'users_email_key_unique'],
  ['without the number of a shard of Citus', { code: '23505', constraint: 'plans_pkey_102008' }, 'plans_pkey'],
  [
    'from the message, if the driver has none',
    {
      code: '23503',
      message: 'insert or update on table "flows_102035" violates foreign key constraint "flows_owner_fkey_102035"',
    },
    'flows_owner_fkey',
  ],
  [
    'from a message that names another table last',
    {
      code: '23503',
      message:
        'update or delete on table "plans_102008" violates foreign key constraint "users_plan_fkey_102009" on table "users_102009"',
    },
    'users_plan_fkey',
  ],
  [
    'from a message in another language',
    { code: '23514', message: 'neue Zeile für Relation »users_102009« verletzt Check-Constraint »users_login_check«' },
    'users_login_check',
  ],
  ['undefined for another error', { code: '40P01', message: 'deadlock on users_pkey' }, undefined],
])('violatedConstraint: %s', (_case, error, name) => {
  expect(violatedConstraint(Object.assign(new Error(), error))).toBe(name);
});

test.each([
  ['a socket error', 'ECONNRESET', true],
  ['a class', '08006', true],
  ['an internal error, as of a node of Citus that was killed', 'XX000', true],
  ['a violated constraint', '23505', false],
  ['a deadlock', '40P01', false],
])('isDatabaseUnavailable: %s', (_case, code, isUnavailable) => {
  expect(isDatabaseUnavailable(Object.assign(new Error(), { code }))).toBe(isUnavailable);
});
