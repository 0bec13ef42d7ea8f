import { Tally } from './tally.js';

describe('Tally.spends', () => {
  test('nothing counted: returns zeros for every kind', () => {
    const kinds = new Tally().spends();
    expect(kinds.map(({ kind }) => kind).sort()).toEqual(['calls', 'resources', 'store', 'tasks']);
    expect(kinds.every(({ granted, denied }) => granted === 0 && denied === 0)).toBe(true);
  });

  test('several counts: sums granted and denied spends by kind', () => {
    const tally = new Tally();
    tally.count('calls', 5, 0);
    tally.count('calls', 2, 3);
    tally.count('tasks', 0, 1);
    tally.count('store', 0, 0);
    const spends = Object.fromEntries(tally.spends().map(({ kind, granted, denied }) => [kind, [granted, denied]]));
    expect(spends).toEqual({ calls: [7, 3], tasks: [0, 1], store: [0, 0], resources: [0, 0] });
  });
});
