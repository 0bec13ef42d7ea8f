import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ByteBudget } from './byte-budget.js';

/** The part of a response that ByteBudget uses. */
class Response extends EventEmitter {
  closed = false;

  close(): void {
    this.closed = true;
    this.emit('close');
  }
}

const as = (response: Response): ServerResponse => response as unknown as ServerResponse;

describe('ByteBudget.hold', () => {
  test('budget used up: overloaded; a closed response frees its bytes', () => {
    const budget = new ByteBudget(100);
    const first = new Response();
    budget.hold(60, as(first));
    budget.hold(40, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
    first.close();
    budget.hold(60, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
  });

  test('request larger than the budget: accepted if nothing else is held', () => {
    const budget = new ByteBudget(100);
    const large = new Response();
    budget.hold(1_000, as(large));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
    large.close();
    budget.hold(1, as(new Response()));
  });

  test('several holds for one response: released together at its close; closed response: holds nothing', () => {
    const budget = new ByteBudget(100);
    const response = new Response();
    budget.hold(50, as(response));
    budget.hold(50, as(response));
    response.close();
    budget.hold(100, as(response));
    budget.hold(100, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
  });
});
