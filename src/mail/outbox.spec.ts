import { pauseAfter } from './outbox.js';

test('pauseAfter: doubles with each attempt, up to an hour', () => {
  const pauses = Array.from({ length: 12 }, (_, n) => pauseAfter(n + 1));
  expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
  expect(pauseAfter(10_000)).toBe(3_600);
});
