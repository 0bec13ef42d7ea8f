import { Distribution } from './distribution.js';

describe('Distribution', () => {
  test('add: counts a value in the first bucket whose bound is not below it', () => {
    const distribution = new Distribution([1, 2, 4]);
    for (const value of [0, 0.5, 1, 1.001, 2, 3, 4, 4.001, 1e9]) distribution.add(value);
    expect(distribution.counts).toEqual([3, 2, 2, 2]);
    expect(distribution.count).toBe(9);
    expect(distribution.sum).toBeCloseTo(1e9 + 15.502, 6);
  });

  test('new: all zeros, one bucket per bound and one above all bounds', () => {
    const { counts, count, sum } = new Distribution([0.1, 0.2]);
    expect({ counts, count, sum }).toEqual({ counts: [0, 0, 0], count: 0, sum: 0 });
  });

  test('no bounds: counts and sums', () => {
    const distribution = new Distribution([]);
    distribution.add(3);
    distribution.add(-1);
    expect({ counts: distribution.counts, sum: distribution.sum }).toEqual({ counts: [2], sum: 2 });
  });

  test('negative, zero, infinite and very large values: all counted', () => {
    const distribution = new Distribution([1]);
    for (const value of [-5, 0, Infinity, Number.MAX_SAFE_INTEGER]) distribution.add(value);
    expect(distribution.counts).toEqual([2, 2]);
  });
});
