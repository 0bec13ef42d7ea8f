import { Problem } from '../common/problem.js';
import type { RangeQuery, Step } from './metrics.dto.js';
import { rangeOf, stepsOf } from './range.js';

const NOW = Date.parse('2026-11-21T12:34:56.789Z');

const clock = Date.now;

beforeEach(() => {
  setClock(NOW);
});

afterAll(() => {
  Date.now = clock;
});

function setClock(moment: number): void {
  Date.now = () => moment;
}

function range(query: RangeQuery, step: Step = 'hour', steps = 24): string {
  const { from, to } = rangeOf(query, step, steps);
  return `${from.toISOString()} ${to.toISOString()}`;
}

/** Returns the validation errors of an invalid range. */
function refusal(query: RangeQuery, step: Step = 'hour'): unknown {
  try {
    rangeOf(query, step, 24);
  } catch (error) {
    if (error instanceof Problem) return error.extra.errors;
    throw error;
  }
  return undefined;
}

describe('rangeOf', () => {
  test('empty query: ends with the current step and has the default length', () => {
    expect(range({})).toBe('2026-11-20T13:00:00.000Z 2026-11-21T13:00:00.000Z');
    expect(range({}, 'day', 30)).toBe('2026-10-23T00:00:00.000Z 2026-11-22T00:00:00.000Z');
  });

  test('at the start of an hour: includes the hour that begins now', () => {
    setClock(Date.parse('2026-11-21T12:00:00.000Z'));
    expect(range({}, 'hour', 1)).toBe('2026-11-21T12:00:00.000Z 2026-11-21T13:00:00.000Z');
    expect(range({ from: '2026-11-21T12:00:00Z' })).toBe('2026-11-21T12:00:00.000Z 2026-11-21T13:00:00.000Z');
  });

  test('times with an offset: rounds outwards to full steps in UTC', () => {
    const query = { from: '2026-11-20T01:59:59+02:00', to: '2026-11-20T10:00:00.001Z' };
    expect(range(query)).toBe('2026-11-19T23:00:00.000Z 2026-11-20T11:00:00.000Z');
    expect(range(query, 'day')).toBe('2026-11-19T00:00:00.000Z 2026-11-21T00:00:00.000Z');
    const half = { from: '2026-11-20T05:30:00+05:30', to: '2026-11-20T07:00:00+05:30' };
    expect(range(half)).toBe('2026-11-20T00:00:00.000Z 2026-11-20T02:00:00.000Z');
  });

  test('full steps: keeps the exact start and end', () => {
    const query = { from: '2026-11-01', to: '2026-11-02' };
    expect(range(query)).toBe('2026-11-01T00:00:00.000Z 2026-11-02T00:00:00.000Z');
    expect(range(query, 'day')).toBe('2026-11-01T00:00:00.000Z 2026-11-02T00:00:00.000Z');
  });

  test('only `to`: starts the default length earlier, also before 1970', () => {
    expect(range({ to: '2026-11-02' })).toBe('2026-11-01T00:00:00.000Z 2026-11-02T00:00:00.000Z');
    expect(range({ to: '1970-01-01' })).toBe('1969-12-31T00:00:00.000Z 1970-01-01T00:00:00.000Z');
  });

  test('rejects a range that ends before or at its start', () => {
    const errors = [{ pointer: '/from', detail: 'must be before to' }];
    expect(refusal({ from: '2026-11-02', to: '2026-11-01' })).toEqual(errors);
    expect(refusal({ from: '2026-11-02', to: '2026-11-02' })).toEqual(errors);
    expect(refusal({ from: '2026-11-21T13:00:00Z' })).toEqual(errors);
    expect(refusal({ from: '2026-11-22' }, 'day')).toEqual(errors);
    // Both are in the same hour, and rounding makes the range one hour long.
    expect(refusal({ from: '2026-11-02T00:10:00Z', to: '2026-11-02T00:05:00Z' })).toBeUndefined();
  });

  test.each<[Step, string, string]>([
    ['hour', '2025-01-01T00:00:00Z', '2026-02-21T16:00:00Z'],
    ['day', '2000-01-01', '2027-05-19'],
  ])('rejects a range of more than 10,000 %ss', (step, from, to) => {
    const { length } = stepsOf(rangeOf({ from, to }, step, 1), step);
    expect(length).toBe(10_000);
    const beyond = new Date(Date.parse(to) + 1).toISOString();
    expect(refusal({ from, to: beyond }, step)).toEqual([
      { pointer: '/from', detail: `must be at most 10000 ${step}s before \`to\`` },
    ]);
  });

  test('rejects a range of 100 years, for hours and days', () => {
    for (const step of ['hour', 'day'] as const) {
      expect(refusal({ from: '1976-11-21', to: '2076-11-21' }, step)).toHaveLength(1);
    }
  });
});

test('stepsOf returns consecutive steps, the last one before the end', () => {
  const steps = (query: RangeQuery, step: Step): string[] =>
    stepsOf(rangeOf(query, step, 1), step).map((at) => at.toISOString());
  expect(steps({ from: '2026-02-27', to: '2026-03-02' }, 'day')).toEqual([
    '2026-02-27T00:00:00.000Z',
    '2026-02-28T00:00:00.000Z',
    '2026-03-01T00:00:00.000Z',
  ]);
  expect(steps({ from: '2026-12-31T22:00:00Z', to: '2027-01-01T01:00:00Z' }, 'hour')).toEqual([
    '2026-12-31T22:00:00.000Z',
    '2026-12-31T23:00:00.000Z',
    '2027-01-01T00:00:00.000Z',
  ]);
});
