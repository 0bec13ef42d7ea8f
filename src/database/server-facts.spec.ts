import { durabilityOf, type ServerFacts } from './server-facts.js';

/** The names of the settings that are unsafe. */
function unsafe(facts: Partial<ServerFacts>): string[] {
  const safe = { fsync: 'on', fullPageWrites: 'on', synchronousCommit: 'on', synchronousStandbys: '' };
  return durabilityOf({ ...safe, ...facts } as ServerFacts)
    .filter(({ isSafe }) => !isSafe)
    .map(({ name }) => name);
}

test('durabilityOf: fsync and full_page_writes must be on', () => {
  expect(unsafe({})).toEqual([]);
  expect(unsafe({ fsync: 'off', fullPageWrites: 'off' })).toEqual(['fsync', 'full_page_writes']);
});

test.each([
  ['on', []],
  ['remote_apply', []],
  ['local', ['synchronous_commit']],
  ['remote_write', ['synchronous_commit']],
])('durabilityOf: synchronous_commit=%s with a synchronous standby', (synchronousCommit, expected) => {
  expect(unsafe({ synchronousCommit, synchronousStandbys: 'one' })).toEqual(expected);
  expect(unsafe({ synchronousCommit })).toEqual([]);
});
